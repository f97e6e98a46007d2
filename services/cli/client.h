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

// Sends `request` and gives every piece of text to `on_text` as it comes. Errors are the router's, with what to do.
absl::StatusOr<Generated> GenerateOnce(const std::string& router, const v1::GenerateRequest& request,
                                       absl::Duration limit, const std::function<void(absl::string_view)>& on_text);

absl::StatusOr<v1::ExplainReply> ExplainOnce(const std::string& router, const std::string& request_id);

}  // namespace decant

#endif  // DECANT_SERVICES_CLI_CLIENT_H_
