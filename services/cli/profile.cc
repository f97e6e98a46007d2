#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/compress/token_bytes.h"
#include "common/model/model_folder.h"
#include "common/policy/measurements.h"
#include "services/cli/command.h"
#include "services/rpc/service_main.h"

namespace decant {
namespace {

struct ProfileOptions {
  std::string name;
  std::string model_folder;
  std::string tables;
  std::string profiles_dir;
  bool json = false;
};

void Line(absl::string_view name, absl::string_view value, std::string& out) {
  absl::StrAppendFormat(&out, "%-12s %s\n", name, value);
}

std::string SelectionOf(const Profile& profile, const Recipe& recipe) {
  if (recipe.allocation == Allocation::kAllHigh) return "every token";
  std::string text = absl::StrCat("by ", profile.allocate, ", the newest ", recipe.window);
  if (recipe.sinks > 0) absl::StrAppend(&text, " and the first ", recipe.sinks);
  absl::StrAppend(&text, " apart");
  if (HasBudget(profile)) absl::StrAppend(&text, ", budget ", profile.budget);
  if (recipe.alpha_high > 0) absl::StrAppend(&text, ", alphas ", profile.alpha_high, " and ", profile.alpha_low);
  return text;
}

std::string KeysOf(const Profile& profile, const Recipe& recipe) {
  std::string text = recipe.key_form.rope == 0 ? "before rope" : "after rope";
  if (recipe.key_form.balanced != 0) absl::StrAppend(&text, ", balanced per channel");
  if (recipe.key_form.hadamard > 0) absl::StrAppend(&text, ", rotated in blocks of ", profile.hadamard);
  if (recipe.low_rank.group_layers > 0) {
    absl::StrAppend(&text, ", ", recipe.low_rank.group_layers, " layers over one basis of rank ",
                    recipe.low_rank.key_rank, " (values ", recipe.low_rank.value_rank, ")");
  }
  return text;
}

std::string FormatText(const std::string& name, FormatId format, int32_t levels, int32_t value_levels,
                       int32_t head_dim) {
  std::string text =
      absl::StrFormat("%s, %g bytes per token and head", name,
                      static_cast<double>(TokensBytes(format, head_dim, kTokenGroup)) / double{kTokenGroup});
  if (levels > 0) absl::StrAppend(&text, ", ", levels, " key levels");
  if (value_levels > 0) absl::StrAppend(&text, ", ", value_levels, " value levels");
  return text;
}

std::string BytesText(const Recipe& recipe, const Geometry& geometry) {
  const BytesPerToken bytes = BytesPerTokenOf(recipe, geometry);
  const auto full = static_cast<double>(geometry.full_bytes_per_token());
  std::string text = bytes.least < bytes.most ? absl::StrFormat("%.1f to ", bytes.least) : "";
  absl::StrAppendFormat(&text, "%.1f, of %.0f at 2 bytes per element: ", bytes.most, full);
  if (bytes.least < bytes.most) absl::StrAppendFormat(&text, "%.1f to ", 100 * bytes.least / full);
  absl::StrAppendFormat(&text, "%.1f %%", 100 * bytes.most / full);
  return text;
}

std::string RecipeText(const Profile& profile, const Recipe& recipe, const ModelConfig& config) {
  std::string out;
  Line("recipe",
       absl::StrFormat("for %s: %d layers of %d kv heads of %d, bf16", config.name, config.layers, config.kv_heads,
                       config.head_dim),
       out);
  if (recipe.score != ScoreSource::kNone) {
    Line("  score",
         absl::StrCat(profile.score, ", ", profile.reduce, " of a group",
                      recipe.pooling == Pooling::kNone
                          ? ""
                          : absl::StrCat(", ", profile.pool, " of ", profile.pool_width, " tokens")),
         out);
  }
  Line("  kept", SelectionOf(profile, recipe), out);
  if (recipe.propagation.layer >= 0) {
    Line("  prefill",
         absl::StrFormat("%g %% of the tokens go on after layer %d", 100 * recipe.propagation.share,
                         recipe.propagation.layer),
         out);
  }
  Line("  keys", KeysOf(profile, recipe), out);
  Line("  high", FormatText(profile.high, recipe.high, recipe.key_levels, recipe.value_levels, config.head_dim), out);
  if (recipe.low != FormatId::kNone) Line("  low", FormatText(profile.low, recipe.low, 0, 0, config.head_dim), out);
  Line("  wire", recipe.code == WireCode::kLowRank ? "low_rank" : profile.code, out);
  Line("  decode", profile.online == "none" ? "nothing moves" : profile.online, out);
  if (recipe.read.tokens > 0) {
    Line("  reads",
         absl::StrCat(recipe.read.tokens, " tokens per head and step, all of them in the first ",
                      recipe.read.dense_layers, " layers"),
         out);
  }
  Line("bytes/token", BytesText(recipe, config.geometry()), out);
  return out;
}

absl::Status List(const ProfileOptions& options) {
  DECANT_ASSIGN_OR_RETURN(const Measurements known, LoadMeasurements("", options.profiles_dir));
  std::string out;
  for (const std::string& name : known.catalogue.Names()) {
    DECANT_ASSIGN_OR_RETURN(const Profile profile, known.catalogue.Find(name));
    absl::StrAppendFormat(&out, "%-16s %s\n", name, profile.summary.empty() ? "-" : profile.summary);
  }
  std::printf("%s", out.c_str());
  return absl::OkStatus();
}

absl::Status Show(const ProfileOptions& options) {
  DECANT_ASSIGN_OR_RETURN(const Measurements known, LoadMeasurements(options.tables, options.profiles_dir));
  std::optional<ModelFolder> model;
  if (!options.model_folder.empty()) {
    DECANT_ASSIGN_OR_RETURN(model, OpenModelFolder(options.model_folder));
  }
  DECANT_ASSIGN_OR_RETURN(const Profile profile,
                          known.catalogue.FindFor(options.name, model.has_value() ? model->fingerprint : Digest()));
  const std::string canonical = CanonicalJson(profile);
  if (options.json) {
    std::printf("%s\n", canonical.c_str());
    return absl::OkStatus();
  }
  std::string out;
  Line("name", profile.name, out);
  if (!profile.summary.empty()) Line("summary", profile.summary, out);
  Line("digest", profile.digest.Hex(), out);
  Line("stored as", profile.shareable.empty() ? profile.name : profile.shareable, out);
  Line("profile", canonical, out);
  if (model.has_value()) {
    DECANT_ASSIGN_OR_RETURN(const Recipe recipe, Compile(profile, model->config.geometry(), RunType::kBf16));
    out += RecipeText(profile, recipe, model->config);
  }
  std::printf("%s", out.c_str());
  return absl::OkStatus();
}

}  // namespace

void AddProfile(CLI::App& parser, CommandRun& run) {
  auto options = std::make_shared<ProfileOptions>();
  CLI::App* command = parser.add_subcommand("profile", "Lists the profiles there are, or shows what one of them does.");
  command->require_subcommand(1);
  CLI::App* list = command->add_subcommand("list", "Prints every profile's name and summary, one a line.");
  AddProfilesFlag(*list, options->profiles_dir);
  list->callback([options, &run] { run = [options] { return List(*options); }; });
  CLI::App* show = command->add_subcommand(
      "show",
      "Prints a profile's digest and its canonical JSON, which is a good start for one of your own.\n"
      "With --model also what it compiles to on that model and what a token of a long prompt costs.");
  show->add_option("name", options->name, "the profile")->required()->type_name("NAME");
  show->add_option("--model", options->model_folder, "Hugging Face model folder")->type_name("DIR");
  show->add_flag("--json", options->json, "print the canonical JSON alone");
  AddTablesFlag(*show, options->tables);
  AddProfilesFlag(*show, options->profiles_dir);
  show->callback([options, &run] { run = [options] { return Show(*options); }; });
}

}  // namespace decant
