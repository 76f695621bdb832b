"""``make chaos``: publishing goes on while one server after another fails; is the result right?"""
