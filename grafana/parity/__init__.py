"""The parity table: the panel that shows what each view of esper-lite showed."""
