// What every profile of the catalogue costs on the host device beside memcpy of the same K and V in the same round:
// encode (score, select, encode, code, seal) and decode (check, undo the lossless code, copy into pages), of a prompt
// that a model computed. Of profiles whose frames can be a prefix of another prompt also expand: back into prefill's K
// and V. Rates are per core, in CPU time, and count the bytes of K and V at full precision, whatever the profile makes
// of them.
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "gpu/engine/prefix_loader.h"
#include "load_tests/engine/bench_model.h"
#include "load_tests/support/report.h"

namespace decant {
namespace {

constexpr int32_t kChunkTokens = 64;
constexpr int32_t kNewTokens = 8;

struct Sizes {
  int32_t tokens = 2048;
  int rounds = 7;
};

// One profile's ways there and back, over the layers of a prompt that is still on the device.
class ProfileBench {
 public:
  ProfileBench(BenchModel& model, DecodeBatch& batch, const Recipe& recipe, absl::Span<const LayerTap> taps,
               const Sizes& sizes)
      : model_(model), batch_(batch), taps_(taps), sizes_(sizes) {
    prompt_.recipe = recipe;
    prompt_.tokens = sizes.tokens;
  }

  absl::Status Run(Report& report) {
    const Geometry geometry = model_.folder().config.geometry();
    const int64_t full = int64_t{sizes_.tokens} * geometry.full_bytes_per_token();
    copy_.resize(static_cast<size_t>(full));
    // The first time finds memory and makes the frames that the others read.
    DECANT_RETURN_IF_ERROR(Encode().status());
    DECANT_RETURN_IF_ERROR(Decode().status());
    const bool expands = prompt_.recipe.token_wise() && prompt_.recipe.key_form == KeyForm{} &&
                         prompt_.recipe.code == WireCode::kRaw && !FormatOf(prompt_.recipe.high).statistics;
    if (expands) DECANT_RETURN_IF_ERROR(Expand().status());
    std::vector<std::function<double()>> contestants = {[this] { return Copy(); }, [this] { return *Encode(); },
                                                        [this] { return *Decode(); }};
    if (expands) contestants.emplace_back([this] { return *Expand(); });
    const auto seconds = InterleavedRounds(sizes_.rounds, contestants);
    const double gigabytes = static_cast<double>(full) * 1e-9;
    const double copy_rate = gigabytes / Median(seconds[0]);
    const char* names[] = {"memcpy", "encode", "decode", "expand"};
    for (size_t i = 1; i < contestants.size(); ++i) {
      report.Add(absl::StrCat("codec.", prompt_.recipe.profile, ".", names[i]), gigabytes / Median(seconds[i]),
                 "GB/s_of_memcpy", copy_rate, MedianRatio(seconds[0], seconds[i]));
    }
    return absl::OkStatus();
  }

 private:
  double Copy() {
    const Geometry geometry = model_.folder().config.geometry();
    const int64_t layer = int64_t{sizes_.tokens} * geometry.full_bytes_per_token() / geometry.layers;
    const double start = CpuSeconds();
    uint8_t* to = copy_.data();
    for (const LayerTap& tap : taps_) {
      // A layer behind a selection holds fewer tokens; its memory is of the same size.
      for (const void* from : {tap.k, tap.v}) {
        std::memcpy(to, from, static_cast<size_t>(layer / 2));
        to += layer / 2;
      }
    }
    return CpuSeconds() - start;
  }

  absl::StatusOr<double> Encode() {
    DECANT_ASSIGN_OR_RETURN(const auto encoder, model_.NewEncoder(prompt_.recipe, sizes_.tokens));
    const double start = CpuSeconds();
    DECANT_ASSIGN_OR_RETURN(prompt_.layers, model_.EncodeLayers(*encoder, prompt_.recipe, taps_));
    return CpuSeconds() - start;
  }

  absl::StatusOr<double> Decode() {
    const double start = CpuSeconds();
    DECANT_ASSIGN_OR_RETURN(const SequenceId id, model_.Import(batch_, prompt_, kNewTokens));
    const double seconds = CpuSeconds() - start;
    batch_.Remove(id);
    return seconds;
  }

  absl::StatusOr<double> Expand() {
    PrefixLoaderOptions options;
    options.geometry = model_.folder().config.geometry();
    options.run_type = model_.weights().run_type();
    options.chunk_tokens = kChunkTokens;
    options.model = model_.folder().fingerprint;
    options.k_norm = model_.folder().config.qk_norm;
    DECANT_ASSIGN_OR_RETURN(const auto loader, PrefixLoader::Create(model_.device(), options));
    const double start = CpuSeconds();
    for (const EncodedLayer& layer : prompt_.layers) {
      std::vector<StoredFrame> frames;
      for (const EncodedChunk& chunk : layer.chunks) {
        frames.push_back(absl::MakeConstSpan(layer.batch)
                             .subspan(static_cast<size_t>(chunk.frame_offset), static_cast<size_t>(chunk.frame_bytes)));
      }
      // Into the layer that the frames were made of: what is lost once is lost no further.
      DECANT_RETURN_IF_ERROR(
          loader->Load(model_.stream(), layer.layer, frames, taps_[static_cast<size_t>(layer.layer)]));
    }
    return CpuSeconds() - start;
  }

  BenchModel& model_;
  DecodeBatch& batch_;
  const absl::Span<const LayerTap> taps_;
  const Sizes sizes_;
  BenchPrompt prompt_;
  std::vector<uint8_t> copy_;
};

std::vector<FormatId> AllFormats(BenchModel& model, const Catalogue& catalogue) {
  std::vector<FormatId> formats;
  for (const std::string& name : catalogue.Names()) {
    const Recipe recipe = model.RecipeOf(name).value();
    for (const FormatId format : {recipe.high, recipe.low, recipe.window_keys, recipe.window_values}) {
      if (format != FormatId::kNone) formats.push_back(format);
    }
  }
  return formats;
}

absl::Status Measure(BenchModel& model, const Sizes& sizes, Report& report) {
  DECANT_ASSIGN_OR_RETURN(const Catalogue catalogue, Catalogue::BuiltIn());
  const Geometry geometry = model.folder().config.geometry();
  // Twice the prompt at full precision: tails, room for new tokens and the other half of mixed rows.
  const int64_t budget = 4 * int64_t{sizes.tokens} * geometry.full_bytes_per_token() + (int64_t{16} << 20);
  DECANT_ASSIGN_OR_RETURN(const auto batch, model.NewBatch(budget, 1, AllFormats(model, catalogue)));
  const std::vector<int32_t> ids = model.Tokens(sizes.tokens, 3);
  for (const std::string& name : catalogue.Names()) {
    DECANT_ASSIGN_OR_RETURN(const Recipe recipe, model.RecipeOf(name));
    const auto bench = [&](absl::Span<const LayerTap> taps) {
      return ProfileBench(model, *batch, recipe, taps, sizes).Run(report);
    };
    DECANT_RETURN_IF_ERROR(model.Prefill(ids, recipe, bench).status());
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  const LoadTestFlags flags = ParseLoadTestFlags(argc, argv);
  const std::string folder = SmallModelFolder();
  auto model = BenchModel::Load(folder);
  if (!model.ok()) {
    std::fprintf(stderr, "codec_bench: %s\n", model.status().ToString().c_str());
    return 1;
  }
  const Sizes sizes = flags.quick ? Sizes{512, 3} : Sizes();
  std::printf("model %s, a prompt of %d tokens\n", folder.c_str(), sizes.tokens);
  Report report(flags);
  if (const absl::Status status = Measure(**model, sizes, report); !status.ok()) {
    std::fprintf(stderr, "codec_bench: %s\n", status.ToString().c_str());
    return 1;
  }
  return report.Finish();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Main(argc, argv); }
