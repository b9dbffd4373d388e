"""One module a resource. Each defines `bp`, and `app.register_routes` finds it. A route parses, calls, serialises, returns."""
