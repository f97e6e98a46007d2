// Where the members of a JSON object stand in its text, and which word was probably meant by one that is not known.
#ifndef DECANT_COMMON_COMPRESS_JSON_LINES_H_
#define DECANT_COMMON_COMPRESS_JSON_LINES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace decant {

// Of each member of the outermost object, and of objects inside it down to `depth` names, the line of its name, counted
// from 1. Names of nested ones are joined by '/'; what stands in lists is passed over. INVALID_ARGUMENT with the line
// for a text that is no JSON object, with both lines for a name that stands twice in one object.
absl::StatusOr<std::map<std::string, int32_t>> JsonMemberLines(absl::string_view text, size_t depth = 1);

// "; did you mean 'score'?" for the nearest of `words` when it is near, else "". `words`: "none, all, some".
std::string DidYouMean(absl::string_view word, absl::string_view words);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_JSON_LINES_H_
