#include "common/model/safetensors.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/half.h"
#include "common/base/status_macros.h"
#include "common/model/json_fields.h"
#include "common/model/mapped_file.h"
#include "common/model/safetensors_header.h"

namespace decant {
namespace {

constexpr size_t kSampleBytes = 4096;

std::string ShapeText(absl::Span<const int64_t> shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

// A file of the folder and what the index wants from it; without an index, everything it holds.
struct Shard {
  std::string path;
  std::vector<std::string> wanted;
};

absl::StatusOr<std::vector<Shard>> ReadIndex(const std::string& folder, const std::string& index_path) {
  DECANT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(index_path));
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseJson(text, index_path));
  DECANT_ASSIGN_OR_RETURN(const JsonFields index, JsonFields::Of(parsed, index_path));
  DECANT_ASSIGN_OR_RETURN(const JsonFields map, index.Object("weight_map"));
  std::map<std::string, std::vector<std::string>> by_file;
  for (const auto& [name, file] : map.json().items()) {
    // The index is a stranger's text: it may name files of this folder only.
    const std::string file_name = file.is_string() ? file.get<std::string>() : "";
    if (file_name.empty() || file_name == "." || file_name == ".." || absl::StrContains(file_name, "/") ||
        absl::StrContains(file_name, absl::string_view("\0", 1))) {
      return absl::InvalidArgumentError(absl::StrCat(index_path, ": ", name, " lies in ", file.dump(),
                                                     ", which is not the name of a file beside it"));
    }
    by_file[file_name].push_back(name);
  }
  if (by_file.empty()) return absl::InvalidArgumentError(absl::StrCat(index_path, ": weight_map is empty"));
  std::vector<Shard> shards;
  for (auto& [file, names] : by_file) shards.push_back({absl::StrCat(folder, "/", file), std::move(names)});
  return shards;
}

absl::StatusOr<std::vector<Shard>> FindShards(const std::string& folder) {
  const std::string single = folder + "/model.safetensors";
  const std::string index = folder + "/model.safetensors.index.json";
  if (std::filesystem::exists(single)) return std::vector<Shard>{{single, {}}};
  if (std::filesystem::exists(index)) return ReadIndex(folder, index);
  return absl::NotFoundError(absl::StrCat(
      folder,
      " holds neither model.safetensors nor model.safetensors.index.json; give the folder of a Hugging Face "
      "model with its weights (weights in .bin files must be saved as safetensors first)"));
}

class MappedTensors : public Safetensors {
 public:
  explicit MappedTensors(std::string folder) : folder_(std::move(folder)) {}

  absl::Status Add(const Shard& shard) {
    DECANT_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(shard.path));
    DECANT_ASSIGN_OR_RETURN(std::vector<StoredTensor> tensors, ParseSafetensorsHeader(file.bytes(), shard.path));
    for (StoredTensor& tensor : tensors) {
      const char* const bytes = file.bytes().data() + tensor.begin;
      std::string name = tensor.name;
      if (!tensors_.try_emplace(name, Placed{std::move(tensor), bytes, shard.path}).second) {
        return absl::DataLossError(absl::StrCat(shard.path, ": tensor ", name, " is also in ", tensors_[name].path,
                                                "; remove the shard that does not belong to this model"));
      }
    }
    for (const std::string& name : shard.wanted) {
      if (tensors_.contains(name)) continue;
      return absl::DataLossError(absl::StrCat(shard.path, ": tensor ", name,
                                              " should be here by the index but is not; download the file again"));
    }
    files_.push_back(std::move(file));
    return absl::OkStatus();
  }

  // The last step of opening.
  void Seal() {
    std::string summary;
    for (const std::string& name : Names()) {
      const Placed& placed = tensors_.at(name);
      const StoredTensor& tensor = placed.tensor;
      const size_t bytes = static_cast<size_t>(tensor.end - tensor.begin);
      total_bytes_ += static_cast<int64_t>(bytes);
      absl::StrAppend(&summary, name.size(), ":", name, tensor.type, ShapeText(tensor.shape));
      const size_t sample = std::min(bytes, kSampleBytes);
      summary.append(placed.bytes, sample);
      summary.append(placed.bytes + bytes - sample, sample);
    }
    fingerprint_ = Sha256(summary);
  }

  absl::StatusOr<TensorView> Find(absl::string_view name, absl::Span<const int64_t> shape) const override {
    const auto it = tensors_.find(name);
    if (it == tensors_.end()) {
      return absl::NotFoundError(absl::StrCat(folder_, ": tensor ", name, " ", ShapeText(shape),
                                              " is missing; the weights do not belong to this config.json, or a file "
                                              "of the model was not downloaded"));
    }
    const auto& [tensor, bytes, path] = it->second;
    if (absl::MakeConstSpan(tensor.shape) != shape) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor ", name, " has the shape ",
                                                     ShapeText(tensor.shape), " but config.json asks for ",
                                                     ShapeText(shape), "; take both from the same model"));
    }
    TensorView view{StoredType::kF32, tensor.shape, bytes, tensor.elements, path};
    if (tensor.type == "F16") {
      view.type = StoredType::kF16;
    } else if (tensor.type == "BF16") {
      view.type = StoredType::kBf16;
    } else if (tensor.type != "F32") {
      return absl::UnimplementedError(
          absl::StrCat(path, ": tensor ", name, " is stored as ", tensor.type,
                       "; decant reads F32, F16 and BF16, convert the model to one of them"));
    }
    return view;
  }

  bool Contains(absl::string_view name) const override { return tensors_.contains(name); }

  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    names.reserve(tensors_.size());
    for (const auto& [name, placed] : tensors_) names.push_back(name);
    std::sort(names.begin(), names.end());
    return names;
  }

  int64_t total_bytes() const override { return total_bytes_; }
  Digest fingerprint() const override { return fingerprint_; }

  void ReleaseMemory() const override {
    for (const MappedFile& file : files_) file.ReleaseMemory();
  }

 private:
  struct Placed {
    StoredTensor tensor;
    const char* bytes = nullptr;
    std::string path;
  };

  std::string folder_;
  std::vector<MappedFile> files_;
  absl::flat_hash_map<std::string, Placed> tensors_;
  int64_t total_bytes_ = 0;
  Digest fingerprint_;
};

template <typename Stored>
void WidenAll(const void* bytes, int64_t elements, float* out) {
  const char* from = static_cast<const char*>(bytes);
  for (int64_t i = 0; i < elements; ++i, from += sizeof(Stored)) {
    Stored value;
    std::memcpy(&value, from, sizeof(Stored));
    out[i] = ToFloat(value);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Safetensors>> Safetensors::Open(const std::string& folder) {
  DECANT_ASSIGN_OR_RETURN(const std::vector<Shard> shards, FindShards(folder));
  auto tensors = std::make_unique<MappedTensors>(folder);
  for (const Shard& shard : shards) DECANT_RETURN_IF_ERROR(tensors->Add(shard));
  tensors->Seal();
  return tensors;
}

void CopyAsFloat(const TensorView& tensor, float* out) {
  switch (tensor.type) {
    case StoredType::kF32:
      if (tensor.elements > 0) std::memcpy(out, tensor.bytes, static_cast<size_t>(tensor.elements) * sizeof(float));
      return;
    case StoredType::kF16:
      return WidenAll<Fp16>(tensor.bytes, tensor.elements, out);
    case StoredType::kBf16:
      return WidenAll<Bf16>(tensor.bytes, tensor.elements, out);
  }
}

}  // namespace decant
