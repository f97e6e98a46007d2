#ifndef DECANT_COMMON_BASE_STATUS_MACROS_H_
#define DECANT_COMMON_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns the status of `expression` from the enclosing function unless it is OK.
#define DECANT_RETURN_IF_ERROR(expression)                                                    \
  do {                                                                                        \
    if (absl::Status decant_status = (expression); !decant_status.ok()) return decant_status; \
  } while (false)

#define DECANT_CONCAT_INNER(a, b) a##b
#define DECANT_CONCAT(a, b) DECANT_CONCAT_INNER(a, b)
#define DECANT_ASSIGN_OR_RETURN_INNER(result, lhs, expression) \
  auto result = (expression);                                  \
  if (!result.ok()) return result.status();                    \
  lhs = std::move(result).value()

// DECANT_ASSIGN_OR_RETURN(auto x, F()): x is the value of F(), or its status is returned.
#define DECANT_ASSIGN_OR_RETURN(lhs, expression) \
  DECANT_ASSIGN_OR_RETURN_INNER(DECANT_CONCAT(decant_result_, __LINE__), lhs, expression)

#endif  // DECANT_COMMON_BASE_STATUS_MACROS_H_
