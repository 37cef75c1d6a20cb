"""Tests that start the real `zrb`, of each supported release."""
