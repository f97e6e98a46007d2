#include "tests/support/paths/paths.h"

namespace decant {

std::string SourceDir() { return DECANT_SOURCE_DIR; }

std::string BinaryDir() { return DECANT_BINARY_DIR; }

}  // namespace decant
