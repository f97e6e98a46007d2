#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "services/cli/client.h"
#include "services/cli/command.h"

namespace decant {
namespace {

struct HintOptions {
  std::string router;
  std::string tenant;
  std::string file;
};

absl::StatusOr<std::string> Envelope(const std::string& path) {
  if (path == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (file && !text.empty()) return text;
  return absl::NotFoundError(
      absl::StrCat("cannot read ", path, "; name a file with a KvHintsEnvelope, or - for stdin"));
}

nlohmann::ordered_json ToJson(const v1::HintReply& reply) {
  nlohmann::ordered_json json;
  json["message_id"] = reply.message_id();
  json["receipts"] = nlohmann::ordered_json::array();
  for (const v1::HintReceipt& receipt : reply.receipts()) {
    const absl::string_view outcome =
        absl::StripPrefix(absl::string_view(v1::HintOutcome_Name(receipt.outcome())), "HINT_OUTCOME_");
    json["receipts"].push_back({{"action_id", receipt.action_id()},
                                {"action_type", receipt.action_type()},
                                {"outcome", absl::AsciiStrToLower(outcome)},
                                {"reason", receipt.reason()},
                                {"clamped", receipt.clamped()},
                                {"chunks", receipt.chunks()},
                                {"bytes", receipt.bytes()},
                                {"priority", receipt.priority()},
                                {"duration_ms", receipt.duration_ms()}});
  }
  return json;
}

absl::Status Hint(const HintOptions& options) {
  DECANT_ASSIGN_OR_RETURN(const std::string envelope, Envelope(options.file));
  DECANT_ASSIGN_OR_RETURN(const v1::HintReply reply, HintOnce(options.router, envelope, options.tenant));
  std::printf("%s\n", ToJson(reply).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  return absl::OkStatus();
}

}  // namespace

void AddHint(CLI::App& parser, CommandRun& run) {
  auto options = std::make_shared<HintOptions>();
  CLI::App* command = parser.add_subcommand(
      "hint",
      "Sends a KvHintsEnvelope (retain, prefetch, demote, release, compress) and prints its receipts as JSON:\n"
      "of each action whether it is accepted, executed or refused and why, and the bytes it touched.");
  command->add_option("--router", options->router, "address of a running router")->required()->type_name("HOST:PORT");
  AddTenantFlag(*command, options->tenant);
  command->add_option("envelope", options->file, "file with the envelope; - for stdin")->required()->type_name("FILE");
  command->callback([options, &run] { run = [options] { return Hint(*options); }; });
}

}  // namespace decant
