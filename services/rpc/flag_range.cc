#include "services/rpc/flag_range.h"

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace decant {

CLI::Validator InRange(double least, double most) {
  const std::string allowed = absl::StrCat("in [", least, ", ", most, "]");
  return CLI::Validator(
      [least, most, allowed](const std::string& word) {
        double value = 0;
        // Written so that NaN is refused, too.
        if (absl::SimpleAtod(word, &value) && value >= least && value <= most) return std::string();
        return absl::StrCat(word, " cannot be; it must be a number ", allowed);
      },
      allowed);
}

}  // namespace decant
