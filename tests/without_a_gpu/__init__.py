"""What stands for a GPU where there is none, and what is known of the kernels without running them.

interpreter     Triton's, hardened         ttsem_runner    what Triton's compiler makes, executed
compiler        compiles for GPUs that are not there; configurations: all that the table of tiles
                can choose
stand_in        a device that is not there, for the tests marked gpu (the CUDA kernels:
                tests/cuda_on_cpu)
launches        what a training step launches
cuda_resources  what nvcc makes of the CUDA kernels
report          what a training step needs of three GPUs (make gpu-report)
screen          finds the blocks of the table of tiles
"""
