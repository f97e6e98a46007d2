#ifndef DECANT_COMMON_MODEL_MODEL_FOLDER_H_
#define DECANT_COMMON_MODEL_MODEL_FOLDER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/model/config.h"
#include "common/model/safetensors.h"
#include "common/model/tokenizer.h"

namespace decant {

// Everything a worker needs of a Hugging Face folder.
struct ModelFolder {
  std::string path;
  ModelConfig config;
  std::unique_ptr<Safetensors> tensors;
  std::unique_ptr<Tokenizer> tokenizer;
  // SHA-256 over config.json's bytes, the tensors' fingerprint and the tokenizer's: KV of two models with different
  // fingerprints never mixes.
  Digest fingerprint;
};

// Opens all parts and checks that every tensor the architecture needs is there with its shape, so that a broken folder
// fails here and not in the middle of a layer.
absl::StatusOr<ModelFolder> OpenModelFolder(const std::string& path);

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_MODEL_FOLDER_H_
