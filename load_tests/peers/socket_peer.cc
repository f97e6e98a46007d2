// Redis and memcached over plain blocking sockets: a value is written from where it lies and read to where it belongs,
// which is the least a client can do.
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/check.h"
#include "load_tests/peers/peer.h"

namespace decant {
namespace {

class Connection {
 public:
  explicit Connection(const std::string& address) : file_(ConnectTcp(address)), buffer_(size_t{64} << 10) {
    DECANT_CHECK_MSG(file_ >= 0, "nobody listens on %s", address.c_str());
  }
  ~Connection() { close(file_); }

  void Write(absl::string_view head, absl::string_view body, absl::string_view tail) {
    iovec parts[3] = {{const_cast<char*>(head.data()), head.size()},
                      {const_cast<char*>(body.data()), body.size()},
                      {const_cast<char*>(tail.data()), tail.size()}};
    size_t first = 0;
    while (first < 3) {
      msghdr message{};
      message.msg_iov = parts + first;
      message.msg_iovlen = 3 - first;
      const ssize_t sent = sendmsg(file_, &message, MSG_NOSIGNAL);
      DECANT_CHECK(sent > 0);
      auto left = static_cast<size_t>(sent);
      while (first < 3 && left >= parts[first].iov_len) left -= parts[first++].iov_len;
      if (first < 3) {
        parts[first].iov_base = static_cast<char*>(parts[first].iov_base) + left;
        parts[first].iov_len -= left;
      }
    }
  }

  // Without its end.
  std::string ReadLine() {
    std::string line;
    while (true) {
      if (at_ == end_) Fill();
      const char c = buffer_[at_++];
      if (c == '\n') break;
      if (c != '\r') line += c;
    }
    return line;
  }
  void ReadBody(char* to, size_t bytes) {
    const size_t here = std::min(bytes, end_ - at_);
    std::memcpy(to, buffer_.data() + at_, here);
    at_ += here;
    for (size_t done = here; done < bytes;) {
      const ssize_t n = recv(file_, to + done, bytes - done, 0);
      DECANT_CHECK(n > 0);
      done += static_cast<size_t>(n);
    }
  }

 private:
  void Fill() {
    const ssize_t n = recv(file_, buffer_.data(), buffer_.size(), 0);
    DECANT_CHECK(n > 0);
    at_ = 0;
    end_ = static_cast<size_t>(n);
  }

  const int file_;
  std::vector<char> buffer_;
  size_t at_ = 0;
  size_t end_ = 0;
};

class SocketPeer : public PeerClient {
 public:
  explicit SocketPeer(const std::string& address) : connection_(address) {}
  void BeforeGets(const std::vector<Value>&) override {}
  bool Get(const Value& value) override {
    Ask(value);
    return Take(value);
  }
  bool GetChain(const std::vector<Value>& chain) override {
    for (const Value& value : chain) Ask(value);
    return std::all_of(chain.begin(), chain.end(), [this](const Value& value) { return Take(value); });
  }

 protected:
  virtual void Ask(const Value& value) = 0;
  virtual bool Take(const Value& value) = 0;
  // The body and its line end, after a head that said `bytes`.
  bool ReadAndCompare(const Value& value, size_t bytes) {
    landing_.resize(bytes + 2);
    connection_.ReadBody(landing_.data(), bytes + 2);
    return bytes == value.bytes.size() && std::memcmp(landing_.data(), value.bytes.data(), bytes) == 0;
  }

  Connection connection_;

 private:
  std::vector<char> landing_;
};

class RedisClient final : public SocketPeer {
 public:
  using SocketPeer::SocketPeer;
  void Put(const Value& value) override {
    const std::string key = value.key.Hex();
    connection_.Write(absl::StrCat("*3\r\n$3\r\nSET\r\n$64\r\n", key, "\r\n$", value.bytes.size(), "\r\n"), value.bytes,
                      "\r\n");
    DECANT_CHECK(connection_.ReadLine() == "+OK");
  }

 protected:
  void Ask(const Value& value) override {
    connection_.Write(absl::StrCat("*2\r\n$3\r\nGET\r\n$64\r\n", value.key.Hex(), "\r\n"), {}, {});
  }
  bool Take(const Value& value) override {
    const std::string head = connection_.ReadLine();
    size_t bytes = 0;
    return head[0] == '$' && absl::SimpleAtoi(head.substr(1), &bytes) && ReadAndCompare(value, bytes);
  }
};

class MemcachedClient final : public SocketPeer {
 public:
  using SocketPeer::SocketPeer;
  void Put(const Value& value) override {
    connection_.Write(absl::StrCat("set ", value.key.Hex(), " 0 0 ", value.bytes.size(), "\r\n"), value.bytes, "\r\n");
    const std::string answer = connection_.ReadLine();
    DECANT_CHECK_MSG(answer == "STORED", "memcached answers %s", answer.c_str());
  }

 protected:
  void Ask(const Value& value) override { connection_.Write(absl::StrCat("get ", value.key.Hex(), "\r\n"), {}, {}); }
  bool Take(const Value& value) override {
    const std::string head = connection_.ReadLine();
    size_t bytes = 0;
    if (head.substr(0, 5) != "VALUE" || !absl::SimpleAtoi(head.substr(head.rfind(' ') + 1), &bytes)) return false;
    const bool same = ReadAndCompare(value, bytes);
    return connection_.ReadLine() == "END" && same;
  }
};

}  // namespace

std::unique_ptr<PeerClient> ConnectRedis(const std::string& address, int64_t) {
  return std::make_unique<RedisClient>(address);
}
std::unique_ptr<PeerClient> ConnectMemcached(const std::string& address, int64_t) {
  return std::make_unique<MemcachedClient>(address);
}

}  // namespace decant
