"""Birth, life and death of the process: the only room that knows concrete classes."""
