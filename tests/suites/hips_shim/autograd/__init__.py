"""The names of HIPS/autograd that its black-box tests use, made of tinygen."""

from .builtins import dict, isinstance, list, tuple
from .operators import (
    checkpoint, deriv, elementwise_grad, grad, grad_and_aux, hessian, hessian_tensor_product,
    hessian_vector_product, holomorphic_grad, jacobian, make_ggnvp, make_hvp, make_jvp, make_vjp,
    multigrad_dict, tensor_jacobian_product, value_and_grad, vector_jacobian_product,
)
