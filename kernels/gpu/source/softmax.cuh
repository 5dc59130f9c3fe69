// The maximum of a row and the sum of exp(x - maximum).
#include "rows.cuh"

struct Mass { float top, sum; };

// In one pass: where a new maximum appears, the sum so far is scaled to it.
INLINE void add_mass(Mass& m, float x) {
  if (x > m.top) {
    m.sum = m.sum * expf(m.top - x) + 1.0f;
    m.top = x;
  } else if (x != -INFINITY) {       // its exp is 0, and a row of nothing else has no maximum yet
    m.sum += expf(x - m.top);
  }
}

// A row with NaN or an infinite maximum has the sum NaN, as exp(inf - inf) has.
INLINE Mass no_infinity(Mass m) {
  if (m.top == INFINITY) m.sum = NAN;
  return m;
}

template <class R> INLINE Mass row_mass(const R& row) {
  Mass own{-INFINITY, 0.0f};
  if (R::HELD) {
    row.each([&](int c, int s) { own.top = fmaxf(own.top, row.at(c, s)); });
    float top = team_max(own.top);
    row.each([&](int c, int s) {
      float x = row.at(c, s);
      if (x != -INFINITY) own.sum += expf(x - top);
    });
    return no_infinity(Mass{top, team_sum(own.sum)});
  }
  row.each([&](int c, int s) { add_mass(own, row.at(c, s)); });
  float top = team_max(own.top);
  float scaled = own.top == -INFINITY ? own.sum : own.sum * expf(own.top - top);
  return no_infinity(Mass{top, team_sum(scaled)});
}
