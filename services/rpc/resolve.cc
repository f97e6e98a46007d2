#include "services/rpc/resolve.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

constexpr char kDns[] = "dns:///";

absl::Status CheckHostPort(absl::string_view address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon != absl::string_view::npos && colon > 0 && absl::SimpleAtoi(address.substr(colon + 1), &port) && port > 0 &&
      port < 65536 && address.find('/') == absl::string_view::npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("'", address.substr(0, 128),
                                                 "' is no address; name HOST:PORT, several with commas between, or ",
                                                 kDns, "HOST:PORT"));
}

// "[::1]" -> "::1"
std::string Unbracketed(absl::string_view host) {
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  return std::string(host);
}

absl::StatusOr<std::vector<std::string>> AskDns(absl::string_view host_port) {
  const size_t colon = host_port.rfind(':');
  const std::string host = Unbracketed(host_port.substr(0, colon));
  const std::string port(host_port.substr(colon + 1));
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (failed != 0) {
    return absl::UnavailableError(absl::StrCat("no address for '", host, "': ", gai_strerror(failed)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, &freeaddrinfo);
  std::vector<std::string> addresses;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    char text[NI_MAXHOST];
    if (getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof(text), nullptr, 0, NI_NUMERICHOST) != 0) continue;
    addresses.push_back(one->ai_family == AF_INET6 ? absl::StrCat("[", text, "]:", port)
                                                   : absl::StrCat(text, ":", port));
  }
  return addresses;
}

}  // namespace

bool IsDnsName(absl::string_view target) { return absl::StartsWith(target, kDns); }

absl::StatusOr<std::vector<std::string>> ResolveTargets(const std::string& target) {
  std::vector<std::string> addresses;
  if (IsDnsName(target)) {
    const absl::string_view name = absl::StripPrefix(target, kDns);
    DECANT_RETURN_IF_ERROR(CheckHostPort(name));
    DECANT_ASSIGN_OR_RETURN(addresses, AskDns(name));
  } else {
    for (const absl::string_view address : absl::StrSplit(target, ',')) {
      DECANT_RETURN_IF_ERROR(CheckHostPort(address));
      addresses.emplace_back(address);
    }
  }
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  if (addresses.empty()) return absl::UnavailableError(absl::StrCat("'", target, "' has no address now"));
  return addresses;
}

}  // namespace decant
