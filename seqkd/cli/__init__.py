"""The ``seqkd`` command and its subcommands."""
