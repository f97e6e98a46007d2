#ifndef DECANT_COMMON_MODEL_POST_PROCESSOR_H_
#define DECANT_COMMON_MODEL_POST_PROCESSOR_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model/json_fields.h"

namespace decant {

// What tokenizer.json's "post_processor" puts around the ids of one text.
struct PostProcessor {
  std::vector<int32_t> before;
  std::vector<int32_t> after;
};

// `tokenizer` is the whole file. UNIMPLEMENTED names a processor decant does not know.
absl::StatusOr<PostProcessor> ReadPostProcessor(const JsonFields& tokenizer);

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_POST_PROCESSOR_H_
