#ifndef DECANT_TESTS_COMMON_MODEL_SMOLLM2_FOLDER_H_
#define DECANT_TESTS_COMMON_MODEL_SMOLLM2_FOLDER_H_

#include <cstdlib>
#include <filesystem>
#include <string>

namespace decant {

// Where deploy/models/make_smollm2.sh puts the model, unless DECANT_SMOLLM2 says otherwise.
inline std::string Smollm2Folder() {
  if (const char* folder = std::getenv("DECANT_SMOLLM2")) return folder;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string root = cache != nullptr && *cache != '\0' ? cache : std::string(home ? home : "") + "/.cache";
  return root + "/decant/smollm2";
}

}  // namespace decant

// Ends the test as skipped unless the model is there.
#define DECANT_REQUIRE_SMOLLM2()                                                           \
  if (!std::filesystem::exists(decant::Smollm2Folder() + "/model.safetensors")) {          \
    GTEST_SKIP() << "no SmolLM2 at " << decant::Smollm2Folder()                            \
                 << "; make it with deploy/models/make_smollm2.sh, or set DECANT_SMOLLM2"; \
  }                                                                                        \
  static_assert(true, "")

#endif  // DECANT_TESTS_COMMON_MODEL_SMOLLM2_FOLDER_H_
