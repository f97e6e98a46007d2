// One request to a router, as the subcommands make it.
#ifndef DECANT_SERVICES_CLI_CLIENT_H_
#define DECANT_SERVICES_CLI_CLIENT_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "decant/v1/generation.pb.h"

namespace decant {

struct Generated {
  std::string request_id;
  std::string text;
  std::vector<int32_t> tokens;
  v1::Finished finished;
};

// All as `tenant`; "" is the default one. Errors are the router's, with what to do.

// Sends `request` and gives every piece of text to `on_text` as it comes.
absl::StatusOr<Generated> GenerateOnce(const std::string& router, const v1::GenerateRequest& request,
                                       absl::Duration limit, const std::function<void(absl::string_view)>& on_text,
                                       const std::string& tenant = "");

absl::StatusOr<v1::ExplainReply> ExplainOnce(const std::string& router, const std::string& request_id,
                                             const std::string& tenant = "");

// `envelope`: a KvHintsEnvelope as JSON.
absl::StatusOr<v1::HintReply> HintOnce(const std::string& router, const std::string& envelope,
                                       const std::string& tenant = "");

}  // namespace decant

#endif  // DECANT_SERVICES_CLI_CLIENT_H_
