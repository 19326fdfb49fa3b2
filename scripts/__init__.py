"""Programs of this repository: generated files, tables and screenshots."""
