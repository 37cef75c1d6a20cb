"""`python -m zrb_store` is the command `zrb-store`, also where the folder of the programs is not on PATH."""

from zrb_store.cli import main

if __name__ == "__main__":
    main()
