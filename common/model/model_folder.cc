#include "common/model/model_folder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/json_fields.h"
#include "common/model/tensor_names.h"

namespace decant {
namespace {

void Append(const Digest& digest, std::string& out) {
  out.append(reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size());
}

}  // namespace

absl::StatusOr<ModelFolder> OpenModelFolder(const std::string& path) {
  ModelFolder folder;
  folder.path = path;
  DECANT_ASSIGN_OR_RETURN(folder.config, ReadModelConfig(path));
  DECANT_ASSIGN_OR_RETURN(folder.tensors, Safetensors::Open(path));
  for (const TensorNeed& need : NeededTensors(folder.config)) {
    DECANT_RETURN_IF_ERROR(folder.tensors->Find(need.name, need.shape).status());
  }
  DECANT_ASSIGN_OR_RETURN(folder.tokenizer, Tokenizer::Open(path));
  if (folder.tokenizer->vocabulary() > folder.config.vocabulary) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": tokenizer.json has ids up to ", folder.tokenizer->vocabulary() - 1,
                     " but config.json's vocab_size is ", folder.config.vocabulary,
                     "; take both from the same model, its embeddings have no row for such an id"));
  }

  DECANT_ASSIGN_OR_RETURN(const std::string config_text, ReadTextFile(path + "/config.json"));
  std::string parts;
  Append(Sha256(config_text), parts);
  Append(folder.tensors->fingerprint(), parts);
  Append(folder.tokenizer->fingerprint(), parts);
  folder.fingerprint = Sha256(parts);
  return folder;
}

}  // namespace decant
