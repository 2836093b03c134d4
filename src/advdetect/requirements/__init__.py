"""What methods need of the numbers of images and of each other, each stated once.

The methods call these functions with what there is, and the workflow calls them before any job with
what is known by then. So they import neither torch nor NumPy.

A method's YAML names its function as ``_requires_``. It is called as
``requirement(images, owner, **params)`` and raises `AdvdetectError` where the method could not run:

- ``images`` are the numbers that are known (`subsets.Images`);
- ``owner`` are the parameters of the feature that ``_fitted_by_`` names, the method's own without;
- ``params`` are the values of the YAML file.
"""
