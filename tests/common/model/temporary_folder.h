#ifndef DECANT_TESTS_COMMON_MODEL_TEMPORARY_FOLDER_H_
#define DECANT_TESTS_COMMON_MODEL_TEMPORARY_FOLDER_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "nlohmann/json.hpp"
#include "tests/support/paths/paths.h"

namespace decant {

// A folder of its own for one test, gone with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = testing::TempDir() + "/decant_model_XXXXXX";
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

  void CopyFrom(const std::string& folder) const {
    std::filesystem::copy(folder, path_, std::filesystem::copy_options::recursive);
  }
  void Write(const std::string& name, const std::string& content) const {
    std::ofstream file(File(name), std::ios::binary);
    file << content;
    ASSERT_TRUE(file.good());
  }
  std::string Read(const std::string& name) const {
    std::ifstream file(File(name), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  // Changes one JSON file in place.
  template <typename Change>
  void Edit(const std::string& name, Change change) const {
    nlohmann::json json = nlohmann::json::parse(Read(name));
    change(json);
    Write(name, json.dump());
  }

 private:
  std::string path_;
};

inline std::string GoldenModels() { return SourceDir() + "/tests/golden/models"; }
inline std::string TinyModel() { return SourceDir() + "/deploy/models/decant-tiny"; }

inline nlohmann::json ReadJson(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  return nlohmann::json::parse(file);
}

}  // namespace decant

#endif  // DECANT_TESTS_COMMON_MODEL_TEMPORARY_FOLDER_H_
