"""One module per command of the `tidewatch` program; imported when the command is used."""
