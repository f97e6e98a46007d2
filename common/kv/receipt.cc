#include "common/kv/receipt.h"

#include <cmath>

namespace decant {

double StoredError::Relative() const {
  // A zero vector stored with any difference has no finite relative error; stored as it is, none at all.
  if (squared_norm <= 0) return squared_difference <= 0 ? 0 : 1;
  return std::sqrt(squared_difference / squared_norm);
}

}  // namespace decant
