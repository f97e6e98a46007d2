// The JSON files of common/policy/tables, compiled in.
#ifndef DECANT_COMMON_POLICY_EMBEDDED_TABLES_H_
#define DECANT_COMMON_POLICY_EMBEDDED_TABLES_H_

#include <vector>

#include "absl/strings/string_view.h"

namespace decant {

struct EmbeddedTable {
  absl::string_view name;  // file name without folder and extension
  absl::string_view text;
};

std::vector<EmbeddedTable> EmbeddedTables();

}  // namespace decant

#endif  // DECANT_COMMON_POLICY_EMBEDDED_TABLES_H_
