"""`python -m jaxgan train ...` is `jaxgan train ...`, where no such command is on the path."""

from jaxgan.commands.main import main

if __name__ == "__main__":
    main()
