"""The two attentions as functions: tensors in, tensors out.

outlook_attention       VOLO, arXiv 2106.13112
large_kernel_attention  VAN, arXiv 2202.09741
depthwise_conv2d        the convolution that the second is made of
backends                which implementation can run given inputs, and why the others cannot
"""

from volovan.ops.backends import backends
from volovan.ops.depthwise import depthwise_conv2d, large_kernel_attention
from volovan.ops.outlook import outlook_attention

__all__ = ["backends", "depthwise_conv2d", "large_kernel_attention", "outlook_attention"]
