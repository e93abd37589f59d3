"""The command line: flags and environment to objects. The only place where things are wired
together. The command itself is `headwater.cli.main.main`.

main       the commands
settings   headwater.toml, HEADWATER_*, flags
retention  retention rules as text
serve      serve, run
tools      token, publish, tail
doctor     what is wrong here
bench      a quick measurement of one hub
logs       how our own processes log
"""
