"""The seed document: parse, check, render. See README.md."""
