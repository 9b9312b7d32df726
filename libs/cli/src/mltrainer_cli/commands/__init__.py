"""Groups of commands: module `x` offers `app`, and `mltrainer x` runs it."""
