#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "services/cli/client.h"
#include "services/cli/command.h"

namespace decant {
namespace {

struct ExplainOptions {
  std::string router;
  std::string tenant;
  std::string request_id;
  bool json = false;
};

// As in common/kv/receipt.h: "exact", "quantised", ...
std::string NameOf(v1::Provenance provenance) {
  const std::string name = v1::Provenance_Name(provenance);
  return absl::AsciiStrToLower(absl::StripPrefix(name, "PROVENANCE_"));
}

std::vector<std::string> StepsOf(const v1::ExplainReply::Part& part) {
  return {part.encoded_from().begin(), part.encoded_from().end()};
}

nlohmann::ordered_json ToJson(const v1::ExplainReply& reply) {
  nlohmann::ordered_json json;
  json["request_id"] = reply.request_id();
  json["state"] = reply.state();
  json["profile"] = reply.profile();
  json["reason"] = reply.reason();
  json["fidelity_floor"] = reply.fidelity_floor();
  json["slo"] = {{"ttft_ms", reply.slo().ttft_ms()}, {"tpot_ms", reply.slo().tpot_ms()}};
  json["prompt_tokens"] = reply.prompt_tokens();
  json["prefix_tokens_reused"] = reply.prefix_tokens_reused();
  json["tokens_computed"] = reply.tokens_computed();
  json["prefix_miss_reason"] = reply.prefix_miss_reason();
  json["prefill_worker"] = reply.prefill_worker();
  json["decode_worker"] = reply.decode_worker();
  json["kv_bytes_full"] = reply.kv().full();
  json["kv_bytes_wire"] = reply.kv().wire();
  json["kv_bytes_resident"] = reply.kv().resident();
  json["tiers"] = {{"high", reply.tiers().high()},
                   {"low", reply.tiers().low()},
                   {"pruned", reply.tiers().pruned()},
                   {"demoted", reply.tiers().demoted()},
                   {"dropped", reply.tiers().dropped()}};
  json["key_error"] = reply.key_error();
  json["value_error"] = reply.value_error();
  json["predicted_ttft_ms"] = reply.predicted_ttft_ms();
  json["measured_ttft_ms"] = reply.measured_ttft_ms();
  json["replans"] = reply.replans();
  json["alternatives"] = nlohmann::ordered_json::array();
  for (const auto& other : reply.alternatives()) {
    json["alternatives"].push_back({{"profile", other.profile()},
                                    {"reuse", other.reuse()},
                                    {"predicted_ttft_ms", other.predicted_ttft_ms()},
                                    {"quality", other.quality()},
                                    {"verdict", other.verdict()}});
  }
  json["parts"] = nlohmann::ordered_json::array();
  for (const auto& part : reply.parts()) {
    json["parts"].push_back({{"first_token", part.first_token()},
                             {"tokens", part.tokens()},
                             {"chunks", part.chunks()},
                             {"tier", part.tier()},
                             {"profile", part.profile()},
                             {"encoded_from", StepsOf(part)},
                             {"provenance", NameOf(part.provenance())},
                             {"quality", part.quality()},
                             {"bytes", part.bytes()}});
  }
  json["hops"] = nlohmann::ordered_json::array();
  for (const auto& hop : reply.hops()) {
    json["hops"].push_back({{"name", hop.name()}, {"start_ms", hop.start_ms()}, {"duration_ms", hop.duration_ms()}});
  }
  return json;
}

std::string ToTable(const v1::ExplainReply& reply) {
  std::string out;
  const auto line = [&out](absl::string_view name, const std::string& value) {
    absl::StrAppendFormat(&out, "%-16s %s\n", name, value);
  };
  line("request", absl::StrFormat("%s (%s)", reply.request_id(), reply.state()));
  line("profile", absl::StrFormat("%s: %s", reply.profile(), reply.reason()));
  line("demands", absl::StrFormat("floor %g, first token %g ms, further tokens %g ms (0: none stated)",
                                  reply.fidelity_floor(), reply.slo().ttft_ms(), reply.slo().tpot_ms()));
  line("prompt", absl::StrFormat("%d tokens: %d from the pool, %d computed%s%s", reply.prompt_tokens(),
                                 reply.prefix_tokens_reused(), reply.tokens_computed(),
                                 reply.prefix_miss_reason().empty() ? "" : "; ", reply.prefix_miss_reason()));
  line("workers", absl::StrFormat("prefill %s, decode %s, planned again %d times", reply.prefill_worker(),
                                  reply.decode_worker(), reply.replans()));
  line("first token",
       absl::StrFormat("predicted %.1f ms, measured %.1f ms", reply.predicted_ttft_ms(), reply.measured_ttft_ms()));
  line("KV bytes", absl::StrFormat("%d in full precision, %d on the wire, %d resident", reply.kv().full(),
                                   reply.kv().wire(), reply.kv().resident()));
  line("tokens", absl::StrFormat("%d high, %d low, %d pruned, %d demoted, %d dropped (over layers and heads)",
                                 reply.tiers().high(), reply.tiers().low(), reply.tiers().pruned(),
                                 reply.tiers().demoted(), reply.tiers().dropped()));
  line("stored error", absl::StrFormat("keys %.4f, values %.4f (relative)", reply.key_error(), reply.value_error()));
  if (!reply.parts().empty()) {
    absl::StrAppendFormat(&out, "\n%-16s %8s %8s %10s %8s  %s\n", "reused tokens", "chunks", "from", "bytes", "quality",
                          "form");
  }
  for (const auto& part : reply.parts()) {
    std::vector<std::string> forms = StepsOf(part);
    forms.push_back(part.profile());
    absl::StrAppendFormat(&out, "%-16s %8d %8s %10d %8.4f  %s (%s)\n",
                          absl::StrCat(part.first_token(), "-", part.first_token() + part.tokens() - 1), part.chunks(),
                          part.tier(), part.bytes(), part.quality(), absl::StrJoin(forms, " -> "),
                          NameOf(part.provenance()));
  }
  if (!reply.hops().empty()) absl::StrAppendFormat(&out, "\n%-16s %12s %12s\n", "hop", "start ms", "took ms");
  for (const auto& hop : reply.hops()) {
    absl::StrAppendFormat(&out, "%-16s %12.1f %12.1f\n", hop.name(), hop.start_ms(), hop.duration_ms());
  }
  if (!reply.alternatives().empty()) {
    absl::StrAppendFormat(&out, "\n%-16s %6s %14s %8s  %s\n", "alternative", "reuse", "predicted ms", "quality",
                          "verdict");
  }
  for (const auto& other : reply.alternatives()) {
    absl::StrAppendFormat(&out, "%-16s %6s %14.1f %8.4f  %s\n", other.profile(), other.reuse() ? "yes" : "no",
                          other.predicted_ttft_ms(), other.quality(), other.verdict());
  }
  return out;
}

absl::Status Explain(const ExplainOptions& options) {
  DECANT_ASSIGN_OR_RETURN(const v1::ExplainReply reply,
                          ExplainOnce(options.router, options.request_id, options.tenant));
  std::printf("%s", options.json ? (ToJson(reply).dump() + "\n").c_str() : ToTable(reply).c_str());
  return absl::OkStatus();
}

}  // namespace

void AddTenantFlag(CLI::App& command, std::string& tenant) {
  command.add_option("--tenant", tenant, "whose call it is; left out, the default tenant's")->type_name("NAME");
}

void AddExplain(CLI::App& parser, CommandRun& run) {
  auto options = std::make_shared<ExplainOptions>();
  CLI::App* command = parser.add_subcommand(
      "explain", "Says why a request was served as it was: plan, alternatives, reuse, bytes and time per hop.");
  command->add_option("--router", options->router, "address of the router that served it")
      ->required()
      ->type_name("HOST:PORT");
  AddTenantFlag(*command, options->tenant);
  command->add_option("request_id", options->request_id, "as in the output of generate --json")->required();
  command->add_flag("--json", options->json, "print one JSON object");
  command->callback([options, &run] { run = [options] { return Explain(*options); }; });
}

}  // namespace decant
