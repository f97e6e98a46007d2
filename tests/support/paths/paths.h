// Where this checkout and its build lie, for tests and benchmarks that read goldens, the bundled model or built
// programs.
#ifndef DECANT_TESTS_SUPPORT_PATHS_PATHS_H_
#define DECANT_TESTS_SUPPORT_PATHS_PATHS_H_

#include <string>

namespace decant {

// Absolute paths without a last slash.
std::string SourceDir();
std::string BinaryDir();

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_PATHS_PATHS_H_
