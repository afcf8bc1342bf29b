"""Other people's BERT4Recs on these kernels: their classes, loops, losses and checkpoints, with the
training step computed here.

    from b4r_fast.integrations import rectools
    rectools.patch()        # and unpatch(); or: with rectools.patch(): ...

One module for each package: huggingface, rectools, recbole, replay. What a patch cannot serve, of
options or of versions, goes on as it was, and a warning says why, once. Numbers are those of the
package up to rounding; dropout drops as much, and other elements.
"""
