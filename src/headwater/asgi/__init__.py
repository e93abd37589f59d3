"""The hub over HTTP, as ASGI applications and responses.

request        what a request asks for
body           reading a body, bounded
limits         how much one caller may use
access         who is asking
cors           which other origins are let in
problems       errors to responses
stream, poll   the two ways to read
subscribe      who may read what
publish        events from outside
tickets        a token buys a ticket
register       tickets that are used once in all processes
admin          looking into the hub
metrics        numbers for Prometheus
health         alive, ready
pages          files for browsers
site           what handlers share
routes         the route table
descriptions   its words
openapi        both, for machines
app            create_app: from a request to its handler and back
library        Hub, for applications of your own
"""
