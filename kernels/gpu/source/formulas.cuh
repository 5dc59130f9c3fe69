// Formulas of elementwise operations on floats, each written once: kernels of single operations
// (pointwise.cu, arithmetic.cu, element_loss.cu) and of chains that jit puts together call them.
//
// NAME_formula<T>(inputs, a, b) is NAME's result: T is the type that the numbers are stored in, a and
// b are static arguments. kernels/gpu/chains.py reads the names here.

// A function of x.
#define FUNCTION(name, expression) \
  template <class T> INLINE float name##_formula(float x, float a = 0.f, float b = 0.f) { \
    return expression; \
  }

// A gradient g times the slope at x (or at the function's result: tanh and sigmoid).
#define GRADIENT(name, expression) \
  template <class T> INLINE float name##_formula(float g, float x, float a = 0.f, float b = 0.f) { \
    return expression; \
  }

// Of two numbers.
#define OPERATION(name, expression) \
  template <class T> INLINE float name##_formula(float x, float y) { return expression; }

// Memory delivers 1e12 numbers of 16 bits in a second, the processors 3e13 instructions: 30 for
// each. So quotients are rounded twice (`__fdividef`: a division has 8 instructions and a branch),
// and of such numbers erf is good to 1.5e-7, and exp to 1e-6 for |x| < 10.

template <class T> INLINE float power(float x) { return sizeof(T) == 4 ? expf(x) : __expf(x); }

template <class T> INLINE float logistic(float x) {
  return __fdividef(1.f, 1.f + power<T>(-x));
}

INLINE float soft(float x) { return fmaxf(x, 0.f) + log1pf(expf(-fabsf(x))); }

// The normal law: P(X <= x), and its density.
// Source: M. Abramowitz and I. Stegun, "Handbook of Mathematical Functions", 26.2.17.
struct Normal {
  float below, density;
};

template <class T> INLINE Normal normal(float x) {
  float density = 0.39894228f * power<T>(-0.5f * x * x);
  if (sizeof(T) == 4) return {0.5f * (1.f + erff(x * 0.70710678f)), density};
  float t = __fdividef(1.f, 1.f + 0.2316419f * fabsf(x));
  float tail = ((((1.33027443f * t - 1.82125598f) * t + 1.78147794f) * t - 0.35656378f) * t +
                0.31938153f) * t * density;
  return {x > 0.f ? 1.f - tail : tail, density};
}

// tanh(log(1 + e^x)) and its slope, by way of n = e^x (e^x + 2): tanh is n / (n + 2).
struct Mish {
  float value, slope;
};

template <class T> INLINE Mish of_mish(float x) {
  float e = power<T>(fminf(x, 20.f)), n = e * (e + 2.f), r = __fdividef(1.f, n + 2.f);
  return {n * r, 4.f * e * (1.f + e) * r * r};
}

// tanh's argument in gelu_tanh, twice: (1 + tanh u) / 2 is the logistic function of 2 u.
INLINE float twice_u(float x) { return 1.5957691f * (x + 0.044715f * x * x * x); }

FUNCTION(sigmoid, logistic<T>(x))
FUNCTION(log_sigmoid, fminf(x, 0.f) - log1pf(expf(-fabsf(x))))
FUNCTION(softplus, a * x > b ? x : soft(a * x) / a)
FUNCTION(silu, __fdividef(x, 1.f + power<T>(-x)))
FUNCTION(mish, x * of_mish<T>(x).value)
FUNCTION(gelu_exact, x * normal<T>(x).below)
FUNCTION(gelu_tanh, x * logistic<T>(twice_u(x)))
FUNCTION(leaky_relu, x > 0.f ? x : a * x)
FUNCTION(elu, x > 0.f ? x : a * expm1f(x))
FUNCTION(erf, erff(x))

template <class T> INLINE float silu_slope(float x) {
  float s = logistic<T>(x);
  return s + x * (s * (1.f - s));
}

template <class T> INLINE float mish_slope(float x) {
  Mish m = of_mish<T>(x);
  return m.value + x * m.slope;
}

template <class T> INLINE float gelu_tanh_slope(float x) {
  float s = logistic<T>(twice_u(x));
  return s + x * (s * (1.f - s)) * (1.5957691f * (1.f + 3.f * 0.044715f * x * x));
}

template <class T> INLINE float gelu_exact_slope(float x) {
  Normal at = normal<T>(x);
  return at.below + x * at.density;
}

GRADIENT(tanh_grad, g * (1.f - x * x))
GRADIENT(relu_grad, g * (x > 0.f ? 1.f : 0.f))
GRADIENT(sigmoid_grad, g * (x * (1.f - x)))
GRADIENT(log_sigmoid_grad, g * logistic<T>(-x))
GRADIENT(softplus_grad, a * x > b ? g : g * logistic<T>(a * x))
GRADIENT(silu_grad, g * silu_slope<T>(x))
GRADIENT(mish_grad, g * mish_slope<T>(x))
GRADIENT(gelu_exact_grad, g * gelu_exact_slope<T>(x))
GRADIENT(gelu_tanh_grad, g * gelu_tanh_slope<T>(x))
GRADIENT(leaky_relu_grad, g * (x > 0.f ? 1.f : a))
GRADIENT(elu_grad, g * (x > 0.f ? 1.f : a * expf(x)))

// NaN of either side stays, as NumPy's.
OPERATION(add, x + y)
OPERATION(subtract, x - y)
OPERATION(multiply, x * y)
OPERATION(divide, x / y)
OPERATION(maximum, x > y || x != x ? x : y)
OPERATION(minimum, x < y || x != x ? x : y)
FUNCTION(positive, x)
FUNCTION(negative, -x)
FUNCTION(absolute, fabsf(x))
FUNCTION(square, x * x)
FUNCTION(reciprocal, 1.f / x)
FUNCTION(relu, x <= 0.f ? 0.f : x)
FUNCTION(exp, expf(x))
FUNCTION(expm1, expm1f(x))
FUNCTION(log, logf(x))
FUNCTION(log1p, log1pf(x))
FUNCTION(sqrt, sqrtf(x))
FUNCTION(rsqrt, 1.f / sqrtf(x))
FUNCTION(tanh, tanhf(x))

// Losses of an element x and its target y: -y log p - (1 - y) log(1 - p) with p = sigmoid(x), without
// overflow, and (x - y)^2.
OPERATION(bce_with_logits, soft(x) - x * y)
OPERATION(mse_loss, (x - y) * (x - y))
template <class T> INLINE float bce_with_logits_grad_formula(float x, float y, float g) {
  return g * (1.f / (1.f + expf(-x)) - y);
}
