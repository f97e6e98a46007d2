// The JSON files of common/compress/catalogue, compiled in.
#ifndef DECANT_COMMON_COMPRESS_EMBEDDED_CATALOGUE_H_
#define DECANT_COMMON_COMPRESS_EMBEDDED_CATALOGUE_H_

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace decant {

struct EmbeddedFile {
  absl::string_view name;  // file name without folder and extension
  absl::string_view text;
};

absl::Span<const EmbeddedFile> EmbeddedProfiles();
absl::Span<const EmbeddedFile> EmbeddedCalibrations();

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_EMBEDDED_CATALOGUE_H_
