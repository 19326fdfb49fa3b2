"""Python stacks of the processes of a run, read from outside by py-spy: for a person, or when a rank stops."""
