"""What a shell asks when the user presses TAB. It is answered without click and SQLAlchemy, so that nobody waits."""
