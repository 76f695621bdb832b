"""What the ports need from outside, one module or package per technology."""
