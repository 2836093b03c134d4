"""Jobs without start-up: forks of a process that has the libraries imported.

The importing of torch, scikit-learn and Matplotlib is most of what a small job takes. For a run on
this machine the workflow starts one `server`; each job is still the command
``python -m advdetect …``, whose first act is to hand itself over (`client`). Where it finds no
server, as on a cluster, it is done in its own process.
"""
