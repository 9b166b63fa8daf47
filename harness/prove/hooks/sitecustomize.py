"""Python imports this at its start wherever this folder is on PYTHONPATH: in workers of a proof.

The store and the worker know nothing of it; a run without this folder on its path has no fault.
"""

from harness.prove.injections import install

install()
