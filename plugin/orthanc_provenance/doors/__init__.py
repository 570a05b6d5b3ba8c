"""The code that lets data out, one protocol each. Every door asks the same gate."""
