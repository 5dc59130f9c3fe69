// What the kernels of attention are told about a call, and where a head's matrices lie.
// Included behind common.cuh, the types T (of arrays) and Real (of sums), and Real widen(T).

// An array: its first element, and how many elements lie between neighbours along the three leading
// axes, along the rows, and (masks only) along the columns. 0 along an axis that it lacks.
struct Place {
  void* base;
  long long lead[3], row, column;
};

struct Call {
  Place q, k, v, y, g, dq, dk, dv, mask, keep;
  Real *lse, *inner;                   // (heads, length)
  int length, keys, width, value_width;
  int heads, members;                  // all; those that share keys and values
  int own[3], group[3];                // the leading axes along which keys differ, and the others
  int causal, offset;                  // query i sees the keys up to i + offset
  int mask_kind;                       // 0 none, 1 boolean, 2 of the queries' type, 3 float32
  int whole;                           // rows of 16-byte pieces at addresses that 16 divides
  double scale;
};

struct Head {
  int number, index[3];
};

INLINE Head split(int number, const int (&of)[3]) {
  Head h;
  h.number = number;
  h.index[2] = number % of[2];
  h.index[1] = number / of[2] % of[1];
  h.index[0] = number / of[2] / of[1];
  return h;
}

// Axis by axis either `own` or `group` is 1, so that the index of one of them is 0.
INLINE Head sharing_head(const Call& c, int shared, int member) {
  Head h = split(shared, c.own), m = split(member, c.group);
#pragma unroll
  for (int i = 0; i < 3; i++) h.index[i] += m.index[i];
  h.number = (h.index[0] * c.own[1] * c.group[1] + h.index[1]) * c.own[2] * c.group[2] + h.index[2];
  return h;
}

INLINE Head head(const Call& c, int number) {
  int all[3] = {c.own[0] * c.group[0], c.own[1] * c.group[1], c.own[2] * c.group[2]};
  return split(number, all);
}

template <class Any> INLINE Any* at(const Place& x, const Head& h) {
  return (Any*)x.base + h.index[0] * x.lead[0] + h.index[1] * x.lead[1] + h.index[2] * x.lead[2];
}

// Does query i see key j, as far as lengths and order say?
INLINE bool visible(const Call& c, int query, int key) {
  return key < c.keys && query < c.length && !(c.causal && key > query + c.offset);
}

// What the mask adds to a score.
INLINE Real mask_at(const Call& c, const Head& h, int query, int key) {
  if (!c.mask_kind) return 0;
  long long i = query * c.mask.row + key * c.mask.column;
  if (c.mask_kind == 1) return at<const unsigned char>(c.mask, h)[i] ? Real(0) : Real(-INFINITY);
  return c.mask_kind == 2 ? widen(at<const T>(c.mask, h)[i]) : Real(at<const float>(c.mask, h)[i]);
}

// What dropout multiplies a weight by.
INLINE Real keep_at(const Call& c, const Head& h, int query, int key) {
  if (!c.keep.base) return 1;
  if (query >= c.length || key >= c.keys) return 0;
  return widen(at<const T>(c.keep, h)[query * c.keep.row + key * c.keep.column]);
}
