// Division of numbers below 2^31 by one that is known before the launch: a product and a shift.
//
// Source: T. Granlund and P. Montgomery, "Division by Invariant Integers using Multiplication",
// PLDI 1994. `divisor` in kernels/gpu/division.py makes the factor.

struct Divisor {
  unsigned by, magic, shift;
};

INLINE unsigned operator/(unsigned n, const Divisor& d) {
  return (__umulhi(n, d.magic) + n) >> d.shift;
}

// The remainder; n becomes the quotient.
INLINE int split(unsigned& n, const Divisor& d) {
  unsigned whole = n / d, rest = n - whole * d.by;
  n = whole;
  return rest;
}
