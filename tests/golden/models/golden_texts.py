"""The texts that every tokenizer is tried on, and the page that the small tokenizers are trained on."""

TEXTS = [
    "",
    " ",
    "Hello world",
    "The quick brown fox jumps over the lazy dog.",
    " leading and trailing ",
    "double  spaces   and    more",
    "\n",
    "\n\n\n",
    "line one\nline two\r\nline three\n\n\nline four\n",
    "\tindented\n\t\tmore\t \tmixed \n  end",
    "trailing spaces then newline   \n   next",
    "    def f(x):\n        return x  # four and eight\n",
    "I'm you're he'll we've they'd it's don't CAN'T I'M YOU'RE HE'LL WE'VE THEY'D IT'S",
    "'s't're've'm'll'd 'S'T",
    "it\u2019s curly, \u2018quoted\u2019 \u201cdouble\u201d",
    "0 1 12 123 1234 12345 1234567890",
    "3.14159 1,000,000 1e-5 0x1F -42 50% $9.99",
    "abc123def456 7up v2.0",
    "\u0661\u0662\u0663 \u0967\u0968\u0969 \u2160\u2161 \u00bd \u00b2 \uff11\uff12",
    "!!! ??? ... --- *** ### @@@ &&& ((()))",
    "a-b_c/d\\e|f~g`h^i",
    "https://example.org/path?query=1&other=two#part",
    "na\u00efve caf\u00e9 r\u00e9sum\u00e9 \u00fcber stra\u00dfe \u017fong \u0130stanbul",
    "nai\u0308ve cafe\u0301 A\u030a \u1e9b\u0323",
    "\u1100\u1161\u11a8 \uac01 \ud55c\uad6d\uc5b4",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u6211\u4eec\u5728\u8fd9\u91cc\u3002",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3001\u304c\u304e\u3050 \u30ab\u3099",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u200f\u05e9\u05dc\u05d5\u05dd",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22",
    "\u0417\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439, \u043c\u0438\u0440! \u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac",
    "\U0001f600 \U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "\U0001d4d7\U0001d4ee\U0001d4f5\U0001d4f5\U0001d4f8 \U00010348 \U0010fffd",
    "\u00a0nbsp\u00a0\u00a0two\u2003em\u3000ideographic\u2028line\u2029para\u0085nel\u180emvs\u200bzwsp\ufeffbom",
    "\x00\x01\x1c\x1f\x7f control",
    "\u2581already \u2581\u2581marked \u0120 \u010a",
    "<0x41><0xE4> <unk> <s> </s>",
    "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|><|im_start|>twice <|im_start |> broken <|im_start",
    "a<mask>b  <mask>  c\n<mask>\td",
    "x[TAIL]   y[TAIL]\n\nz [TAIL]",
    "word inword wordin word, sword-word word",
    "<a> <a>b <a>bc <<a>> <a",
    "caf\u00e9token cafe\u0301token naive",
    "<bos>Hello<eos><pad> <bos> <|endoftext|>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ababababababababababababab \u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    '{"key": [1, 2.5, null, true], "other": "va\\"lue"}',
    "Question: what is the code of Alice? Answer: 48213.",
    "mixed\u4e2d\u6587and English\u3001with123numbers\U0001f680\U0001f680!!!\n\n  \u65b0\u7684\u4e00\u884c",
]

TRAINING = """
The old house stood at the end of the road, and nobody had lived there for twenty years. When it rained, the water came
through the roof and ran down the walls; when the sun shone, the dust turned slowly in the light. It's said that someone's
grandfather had built it with his own hands. They'd say: "Don't go there, you'll find nothing." We've been there, I'm sure.
In 1987 there were 12 rooms, 340 windows and 5 doors. The numbers 0 1 2 3 4 5 6 7 8 9 10 100 1000 are easy to count.
def count(words):
    total = 0
    for word in words:
        total += 1
    return total
The capital of France is Paris. The capital of Germany is Berlin. Question: who has the key? Answer: the key is with Alice.
Der Fluss ist breit und die Stra\u00dfe ist lang. \u00dcber den Bergen h\u00f6ren wir die V\u00f6gel. Le caf\u00e9 est ferm\u00e9, la rivi\u00e8re est gel\u00e9e.
\u4f60\u597d\u4e16\u754c\u3002\u6211\u4eec\u5728\u8fd9\u91cc\u3002\u4f60\u4eec\u5728\u54ea\u91cc\uff1f\u4e16\u754c\u5f88\u5927\u3002 \u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3067\u3059\u3002\u3053\u308c\u306f\u672c\u3067\u3059\u3002
\u0417\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439, \u043c\u0438\u0440! \u042d\u0442\u043e \u043c\u0438\u0440. \u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645. \uc548\ub155\ud558\uc138\uc694 \uc138\uacc4.
\U0001f600 \U0001f600 \U0001f680 aaaa aaaa abab abab     spaces     here \u2026 \u2014 \u201cquotes\u201d
""".strip("\n")
