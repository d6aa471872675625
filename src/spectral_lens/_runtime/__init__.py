"""What the other rooms stand on and no reader imports.

`devices`, `memory`, `timing`, `resources` (the project's tables), `files` (whole or not there), `conv_backward`.
"""
