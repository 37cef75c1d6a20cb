"""A wing: sessions leave a store as lines of text (`export`), come back (`import`), or go to another store (`copy`)."""
