"""What the data doctor says of texts, labels and repeats, and the same in Chinese (see `translate`).

[|] stands where the code puts one of several endings; [2|2] is a value of which a template has its own.
"""

__all__ = ["FINDINGS"]

FINDINGS: tuple[tuple[str, str], ...] = (
    ("(In {n:n} rows drawn by chance.)", "（随机抽取 {n} 条检查。）"),
    # check
    (
        "Near-duplicates were not looked for: {size:n} characters are more than {most:n}.",
        "未查找近似重复：文本共 {size} 个字符，超过 {most} 个。",
    ),
    (
        "Texts that differ only in case, punctuation and spacing were found all the same.",
        "仅大小写、标点和空格不同的文本仍已找出。",
    ),
    # check_repeats
    ("The table has no rows.", "表中没有数据。"),
    ("All {n:rows} have an empty text.", "全部 {n}数据的文本都为空。"),
    (
        "The text was read from column {column}; name the right one with --text.",
        "文本读自 {column} 列；请用 --text 指定正确的列。",
    ),
    ("None of the {n:rows} has a label.", "{n}数据都没有标签。"),
    (
        "The label was read from column {column}; name the right one with --label.",
        "标签读自 {column} 列；请用 --label 指定正确的列。",
    ),
    (
        "{n:rows} ({share:share}) [has|have] an empty text[|]: is this the right column?",
        "{n}（{share}）数据的文本为空：这一列选对了吗？",
    ),
    (
        "{n:rows} ({share:share}) [has|have] an empty text[|] and will be left out.",
        "{n}（{share}）数据的文本为空，将被剔除。",
    ),
    (
        "The text was read from column {column}; name another with --text, or run with --fix if these rows "
        "may be dropped.",
        "文本读自 {column} 列；请用 --text 指定其他列，如果这些数据可以丢弃，则加上 --fix 运行。",
    ),
    (
        "Nothing must be done; fill in the texts if they should be there.",
        "无需处理；如果本该有文本，请补上。",
    ),
    (
        "{n:rows} ({share:share}) [has|have] no label and will be left out.",
        "{n}（{share}）数据没有标签，将被剔除。",
    ),
    (
        "Label these rows, or leave them for `tunelab predict`.",
        "请标注这些数据，或留给 `tunelab predict` 去预测。",
    ),
    (
        "{n:rows} ({share:share}) [repeats|repeat] an earlier row: same text, same label.",
        "{n}（{share}）与前面的数据重复：文本和标签都相同。",
    ),
    (
        "They are kept on one side of every split, but weigh double; run with --fix to keep only the first.",
        "每次划分时它们都在同一侧，但权重加倍；加上 --fix 运行可只保留第一条。",
    ),
    (
        "{n:n} [text occurs|texts occur] with more than one label ({rows:rows}).",
        "{n} 个文本带有不止一种标签（共 {rows}）。",
    ),
    (
        "Decide which label is right and correct the file; this is not mended for you. No method can get "
        "all of these rows right: the best possible accuracy is {share:share}.",
        "请判断哪个标签正确并修改文件，这里不会自动修复。任何方法都不可能把这些数据全部判对："
        "准确率最高只能达到 {share}。",
    ),
    (
        "{n:rows} of the {part:part} part ({share:share}) [is|are] also in the {other:part} part (the same "
        "text, but for case, punctuation and spacing).",
        "{part}集中有 {n}（{share}）也出现在{other}集中（忽略大小写、标点和空格，文本相同）。",
    ),
    (
        "Scores on them reward memory; run with --fix to drop the {n:rows} from the {other:part} part.",
        "这些数据上的得分奖励的是死记硬背；加上 --fix 运行可从{other}集中删除这 {n}。",
    ),
    (
        "{n:rows} of the {part:part} part ({share:share}) [is|are] nearly the same as a row of the "
        "{other:part} part.",
        "{part}集中有 {n}（{share}）与{other}集中的某条数据近似重复。",
    ),
    (
        "The given split is kept as it is; scores may be a little too good. Let tunelab divide the rows "
        "(one file without split) to keep such rows on one side.",
        "给定的划分保持不变，得分可能略微偏高。若由 tunelab 划分数据（只给一个未划分的文件），"
        "这样的数据会留在同一侧。",
    ),
    (
        "{n:rows} ({share:share}) [is|are] nearly the same as an earlier row (up to {versions:n} versions "
        "of one text).",
        "{n}（{share}）与前面的数据近似重复（同一文本最多有 {versions} 个版本）。",
    ),
    (
        "Nothing must be done: rows that are nearly the same stay on one side of every split that tunelab "
        "makes.",
        "无需处理：tunelab 划分数据时，近似重复的数据总在同一侧。",
    ),
    # check_labels
    (
        "Only {n:rows} with a text and a label; a comparison needs at least {least:n}.",
        "只有 {n}数据既有文本又有标签；比较至少需要 {least} 条。",
    ),
    (
        "Label more rows: about 50 a class give a first answer, 200 a class a reliable one.",
        "请标注更多数据：每个类别约 50 条可得到初步结论，200 条可得到可靠的结论。",
    ),
    (
        "All {n:rows} have the same label, {label}: there is nothing to tell apart.",
        "全部 {n}数据的标签都是 {label}：没有可区分的内容。",
    ),
    (
        "Add rows of at least one other class, or name another label column with --label (labels were read "
        "from {column}).",
        "请至少加入另一个类别的数据，或用 --label 指定其他标签列（标签读自 {column}）。",
    ),
    (
        "The labels in {column} are numbers on a scale ({kinds:n} different values in {n:rows}): "
        "predicting them is regression, not classification.",
        "{column} 列的标签是某种尺度上的数值（{n}数据中有 {kinds} 个不同的值）：预测它们是回归，而不是分类。",
    ),
    (
        "Learn them as numbers with --task regress, turn them into classes (for example low, middle, "
        "high), or name another column with --label.",
        "请用 --task regress 当作数值学习，或把它们转换成类别（例如低、中、高），或用 --label 指定其他列。",
    ),
    (
        "{kinds:n} different labels in {n:rows}: column {column} looks like an identifier or a text, not "
        "like classes.",
        "{n}数据中有 {kinds} 个不同的标签：{column} 列看起来是编号或文本，而不是类别。",
    ),
    ("Name the column that holds the classes with --label.", "请用 --label 指定类别所在的列。"),
    (
        "{n:rows} have a label with {sign} in it, made of {parts:n} parts of which {again:n} come again "
        "({names:names}): they look like lists of labels.",
        "{n}数据的标签中含有 {sign}，由 {parts} 个部分组成，其中 {again} 个重复出现（{names}）："
        "看起来是标签列表。",
    ),
    (
        "Learn them with --task multilabel, which finds each by itself; here every combination is a class "
        "of its own.",
        "请用 --task multilabel 学习，它会分别识别每个标签；目前每种组合都被当作一个单独的类别。",
    ),
    (
        "{n:n} of {all:n} classes [has|have] a single row ({names:names}): it cannot be both learnt and "
        "tested.",
        "{all} 个类别中有 {n} 个只有一条数据（{names}）：无法既用于学习又用于测试。",
    ),
    (
        "They are spellings of other labels: run with --fix to unify them, or correct the file.",
        "它们是其他标签的不同写法：加上 --fix 运行可统一写法，或修改文件。",
    ),
    (
        "Add rows of these classes, merge them into a broader class, or remove them.",
        "请为这些类别补充数据，或并入更宽泛的类别，或将其删除。",
    ),
    (
        "{n:rows} [spells|spell] a label differently in case, width or spaces ({pairs:names}); as it stands "
        "each spelling is a class of its own.",
        "{n}数据的标签写法在大小写、全半角或空格上不一致（{pairs}）；目前每种写法都会被当作一个单独的类别。",
    ),
    (
        "Run with --fix to take the most frequent spelling of each, or correct the file.",
        "加上 --fix 运行可统一为各自最常见的写法，或修改文件。",
    ),
    (
        "{n:rows} [has|have] the label {names:names}, which usually means that the label is missing; it is "
        "learnt as a class.",
        "{n}数据的标签是 {names}，这通常表示标签缺失；目前会被当作一个类别来学习。",
    ),
    (
        "Empty these cells if the label is missing (such rows are left out), or give the class a clearer "
        "name.",
        "如果标签确实缺失，请清空这些单元格（这样的数据会被剔除）；否则请给该类别取一个更明确的名称。",
    ),
    (
        "{n:n} of {all:n} classes [has|have] fewer than {few:rows}: {names}.",
        "{all} 个类别中有 {n} 个不足 {few}数据：{names}。",
    ),
    (
        "Scores of such classes are nearly chance; add rows, merge classes, or read macro-F1 with care.",
        "这些类别的得分几乎取决于偶然；请补充数据、合并类别，或谨慎解读宏平均 F1。",
    ),
    (
        "The classes are uneven: {large} has {n:rows} ({share:share}), {small} has {few:n} ({ratio:n} "
        "times fewer).",
        "类别不均衡：{large} 有 {n}（{share}），{small} 有 {few} 条（前者是后者的 {ratio} 倍）。",
    ),
    (
        "Methods are compared by macro-F1, in which every class counts alike; accuracy alone would reward "
        "always answering the largest class. loss.class_weights=balanced may help the small classes.",
        "各方法按宏平均 F1 比较，每个类别的权重相同；只看准确率会奖励总是回答最大类别的做法。"
        "loss.class_weights=balanced 可能有助于小类别。",
    ),
    (
        "{n:rows} of the [test|test] part [has|have] labels that never occur in the training part: "
        "{names:names}. No method can find them; they count as missed.",
        "测试集中有 {n}数据的标签从未在训练集中出现：{names}。任何方法都找不出它们，一律计为漏检。",
    ),
    (
        "{n:rows} of the [validation|validation] part [has|have] labels that never occur in the training "
        "part: {names:names}. No method can find them; they count as missed.",
        "验证集中有 {n}数据的标签从未在训练集中出现：{names}。任何方法都找不出它们，一律计为漏检。",
    ),
    (
        "{n:rows} of the [test|test] part [has a label|have labels] that never occur[s|] in the training "
        "part: {names:names}.",
        "测试集中有 {n}数据的标签从未在训练集中出现：{names}。",
    ),
    (
        "{n:rows} of the [validation|validation] part [has a label|have labels] that never occur[s|] in the "
        "training part: {names:names}.",
        "验证集中有 {n}数据的标签从未在训练集中出现：{names}。",
    ),
    (
        "Check the spelling of the labels, add such rows to the training file, or remove these.",
        "请检查标签的写法，或在训练文件中加入这样的数据，或删除这些数据。",
    ),
    (
        "{n:n} of {all:n} classes do not occur in the test part and cannot be judged: {names:names}.",
        "{all} 个类别中有 {n} 个未在测试集中出现，无法评判：{names}。",
    ),
    (
        "Add rows of these classes to the test file, or let tunelab divide the rows (one file without "
        "split).",
        "请在测试文件中加入这些类别的数据，或由 tunelab 划分数据（只给一个未划分的文件）。",
    ),
    # check_label_lists
    (
        "Only {n:rows} with a text; a comparison needs at least {least:n}.",
        "只有 {n}数据有文本；比较至少需要 {least} 条。",
    ),
    (
        "Label more rows: about 50 a label give a first answer, 200 a label a reliable one.",
        "请标注更多数据：每个标签约 50 条可得到初步结论，200 条可得到可靠的结论。",
    ),
    (
        "The only label is {label}: there is nothing to tell apart.",
        "唯一的标签是 {label}：没有可区分的内容。",
    ),
    ("No row has a label[|]: there is nothing to tell apart.", "没有一条数据有标签：没有可区分的内容。"),
    (
        "Labels were read from {column}; name another column with --label, or columns of 0 and 1 with "
        "data.labels=NAME,NAME. Whether a text has one certain label is learnt with --task classify and "
        "two names.",
        "标签读自 {column}；请用 --label 指定其他列，或用 data.labels=NAME,NAME 指定取值为 0 和 1 的列。"
        "若要学习文本是否带有某一个标签，请用 --task classify 和两个名称。",
    ),
    ("Every row has exactly one label.", "每条数据都恰好有一个标签。"),
    (
        "If that is so by nature, --task classify learns it better: it knows that labels exclude each other.",
        "如果本来就是这样，用 --task classify 学习效果更好：它知道各标签互斥。",
    ),
    (
        "{n:rows} ({share:share}) [has|have] no label: it is learnt that none applies.",
        "{n}（{share}）数据没有标签：会被当作“所有标签都不适用”来学习。",
    ),
    ("Leave these rows out if they have not been labelled yet.", "如果这些数据尚未标注，请剔除它们。"),
    (
        "{n:rows} [spells|spell] a label differently in case, width or spaces ({pairs:names}); as it stands "
        "each spelling is a label of its own.",
        "{n}数据的标签写法在大小写、全半角或空格上不一致（{pairs}）；目前每种写法都会被当作一个单独的标签。",
    ),
    (
        "{n:n} of {all:n} labels [has|have] fewer than {few:rows}: {names}.",
        "{all} 个标签中有 {n} 个不足 {few}数据：{names}。",
    ),
    (
        "Their own F1 is nearly chance, and macro-F1 with it; add rows, merge labels, or leave them out.",
        "它们各自的 F1 几乎取决于偶然，宏平均 F1 也随之如此；请补充数据、合并标签，或去掉这些标签。",
    ),
    (
        "Every row has the label {names:names}: it tells nothing apart and flatters every score.",
        "每条数据都有标签 {names}：它没有区分作用，还会抬高各项得分。",
    ),
    ("Leave it out.", "请去掉它。"),
    (
        "Check the spelling, add such rows to the training file, or leave these labels out.",
        "请检查写法，或在训练文件中加入这样的数据，或去掉这些标签。",
    ),
    (
        "{n:n} labels do not occur in the test part and cannot be judged: {names:names}.",
        "{n} 个标签未在测试集中出现，无法评判：{names}。",
    ),
    (
        "Add rows of these labels to the test file, or let tunelab divide the rows (one file).",
        "请在测试文件中加入带这些标签的数据，或由 tunelab 划分数据（只给一个文件）。",
    ),
    ("{n:n} [text occurs|texts occur] with more than one set of labels.", "{n} 个文本带有不止一组标签。"),
    (
        "Decide which is right and correct the file; this is not mended for you.",
        "请判断哪一组正确并修改文件，这里不会自动修复。",
    ),
    # check_numbers
    (
        "Only {n:rows} with a text and a number; a comparison needs at least {least:n}.",
        "只有 {n}数据既有文本又有数值；比较至少需要 {least} 条。",
    ),
    ("Label more rows: a few hundred give a first answer.", "请标注更多数据：几百条即可得到初步结论。"),
    (
        "{n:rows} of {all:n} [has|have] a label in {column} that is no number.",
        "{all} 条数据中有 {n}在 {column} 列的标签不是数值。",
    ),
    (
        "Correct or empty these cells (rows without a label are left out), name another column with "
        "--label, or learn the labels as classes (--task classify; --task match for pairs).",
        "请修正或清空这些单元格（没有标签的数据会被剔除），或用 --label 指定其他列，"
        "或把标签当作类别学习（--task classify；文本对用 --task match）。",
    ),
    (
        "All {n:rows} have the number {value}: there is nothing to learn.",
        "全部 {n}数据的数值都是 {value}：没有可学习的内容。",
    ),
    ("Name another column with --label.", "请用 --label 指定其他列。"),
    (
        "The numbers have {kinds:n} different values only ({values}).",
        "数值只有 {kinds} 种不同的取值（{values}）。",
    ),
    (
        "If they name classes rather than amounts, learn them with --task classify.",
        "如果它们代表类别而不是数量，请用 --task classify 学习。",
    ),
    (
        "{n:rows} ({share:share}) [has|have] a number far from the others (half of them lie between {low} "
        "and {high}).",
        "{n}（{share}）的数值远离其他数据（半数数值在 {low} 与 {high} 之间）。",
    ),
    (
        "Look whether these are slips of the hand; squared errors are ruled by them, loss.kind=huber is not.",
        "请检查是否为笔误；平方误差会被它们主导，loss.kind=huber 则不会。",
    ),
    # check_content
    (
        "{n:rows} ({share:share}) [contains|contain] broken characters (such as Ã©, 锟斤拷 or �): the text "
        "was once read in the wrong encoding[|].",
        "{n}（{share}）数据含有乱码（如 Ã©、锟斤拷 或 �）：文本曾以错误的编码读取。",
    ),
    (
        "Export the file again as UTF-8; characters already lost cannot be brought back.",
        "请以 UTF-8 重新导出文件；已经丢失的字符无法恢复。",
    ),
    (
        "{n:rows} ({share:share}) [contains|contain] control or invisible characters (such as a BOM or a "
        "zero-width space)[|].",
        "{n}（{share}）数据含有控制字符或不可见字符（如 BOM 或零宽空格）。",
    ),
    (
        "Remove them from the file; some tokenizers make unknown tokens of them.",
        "请从文件中删除；有些分词器会把它们变成未知 token。",
    ),
    (
        "{n:rows} ({share:share}) [contains|contain] HTML tags or entities (such as <br> or &nbsp;)[|].",
        "{n}（{share}）数据含有 HTML 标签或实体（如 <br> 或 &nbsp;）。",
    ),
    (
        "Strip the markup where it carries no meaning; texts to be predicted later must be treated alike.",
        "没有意义的标记请去除；以后要预测的文本也必须同样处理。",
    ),
    ("{n:rows} ({share:share}) [contains|contain] web addresses[|].", "{n}（{share}）数据含有网址。"),
    (
        "Nothing must be done; replacing them by one word saves tokens.",
        "无需处理；用一个词代替它们可以节省 token。",
    ),
    (
        "The texts are written in [2|2] scripts: {a:share} [Latin|Latin], {b:share} {y:said}.",
        "文本使用 2 种文字：拉丁字母 {a}、{y} {b}。",
    ),
    (
        "The texts are written in [2|2] scripts: {a:share} {x:said}, {b:share} [Latin|Latin].",
        "文本使用 2 种文字：{x} {a}、拉丁字母 {b}。",
    ),
    ("The texts are written in {n:n} scripts: {names}.", "文本使用 {n} 种文字：{names}。"),
    ("Chinese characters", "汉字"),
    ("Japanese", "日文"),
    ("Korean", "韩文"),
    ("Cyrillic", "西里尔字母"),
    ("Hebrew", "希伯来字母"),
    ("Arabic", "阿拉伯字母"),
    ("Take a pretrained model that knows all of these languages.", "请选用掌握所有这些语言的预训练模型。"),
    (
        "Texts in [Latin|Latin] occur almost only in {classes:names}: {high:share} or more of the rows "
        "there, {rest:share} elsewhere.",
        "拉丁字母文本几乎只出现在 {classes} 中：占其中的 {high} 或更多（其他类别：{rest}）。",
    ),
    (
        "Texts in [Chinese characters|Chinese characters] occur almost only in {classes:names}: "
        "{high:share} or more of the rows there, {rest:share} elsewhere.",
        "汉字文本几乎只出现在 {classes} 中：占其中的 {high} 或更多（其他类别：{rest}）。",
    ),
    (
        "Texts in {script:said} occur almost only in {classes:names}: {high:share} or more of the rows "
        "there, {rest:share} elsewhere.",
        "某种文字（{script}）的文本几乎只出现在 {classes} 中：占其中的 {high} 或更多（其他类别：{rest}）。",
    ),
    (
        "A model will learn the script instead of the meaning; balance the sources, or leave this script "
        "out.",
        "模型学到的会是文字种类而不是含义；请平衡数据来源，或去掉这种文字的文本。",
    ),
    (
        "{share:share} of the rows labelled {label} contain the word {word}, {rest:share} of the others: "
        "the text seems to give the label away.",
        "标签为 {label} 的数据有 {share} 含有词 {word}（其他数据：{rest}）：文本似乎泄露了标签。",
    ),
    (
        "Remove the label from the text if it will not be there when the model is used.",
        "如果模型使用时文本中不会出现标签，请将其从文本中删除。",
    ),
    (
        "{n:rows} [has|have] a text of over {most:n} characters (the longest {longest:n}, the median "
        "{median:n}).",
        "{n}数据的文本超过 {most} 个字符（最长 {longest}，中位数 {median}）。",
    ),
    (
        "Check that no quotation mark swallowed the following rows; only the beginning of a long text is "
        "read.",
        "请检查是否有引号吞掉了后面的数据；长文本只会读取开头。",
    ),
    # check_tokens
    (
        "{share:share} of the tokens would be unknown to {name}: this tokenizer cannot represent this text.",
        "{share} 的 token 对 {name} 来说是未知 token：这个分词器无法表示这些文本。",
    ),
    (
        "{share:share} of the tokens would be unknown to {name} ({n:rows} concerned).",
        "{share} 的 token 对 {name} 来说是未知 token（涉及 {n}）。",
    ),
    (
        "{share:share} of the tokens would be unknown to {name} ({n:rows} concerned), too few to matter.",
        "{share} 的 token 对 {name} 来说是未知 token（涉及 {n}），数量太少，无关紧要。",
    ),
    (
        "{share:share} of the characters would be lost to {name}: this tokenizer cannot represent this text.",
        "{share} 的字符会在 {name} 中丢失：这个分词器无法表示这些文本。",
    ),
    (
        "{share:share} of the characters would be lost to {name} ({n:rows} concerned).",
        "{share} 的字符会在 {name} 中丢失（涉及 {n}）。",
    ),
    (
        "{share:share} of the characters would be lost to {name} ({n:rows} concerned), too few to matter.",
        "{share} 的字符会在 {name} 中丢失（涉及 {n}），数量太少，无关紧要。",
    ),
    (
        "Take a model made for this text with --model, such as {models:said}.",
        "请用 --model 选用适合这种文本的模型，例如 {models}。",
    ),
    (
        "bert-base-chinese, hfl/chinese-roberta-wwm-ext, xlm-roberta-base or Qwen/Qwen3-0.6B",
        "bert-base-chinese、hfl/chinese-roberta-wwm-ext、xlm-roberta-base 或 Qwen/Qwen3-0.6B",
    ),
    (
        "DeepPavlov/rubert-base-cased, xlm-roberta-base or Qwen/Qwen3-0.6B",
        "DeepPavlov/rubert-base-cased、xlm-roberta-base 或 Qwen/Qwen3-0.6B",
    ),
    (
        "aubmindlab/bert-base-arabertv02, xlm-roberta-base or Qwen/Qwen3-0.6B",
        "aubmindlab/bert-base-arabertv02、xlm-roberta-base 或 Qwen/Qwen3-0.6B",
    ),
    (
        "xlm-roberta-base, bert-base-multilingual-cased or Qwen/Qwen3-0.6B",
        "xlm-roberta-base、bert-base-multilingual-cased 或 Qwen/Qwen3-0.6B",
    ),
    (
        "Nothing must be done, unless these characters carry the meaning (emoji, units, symbols).",
        "无需处理，除非这些字符承载含义（表情、单位、符号）。",
    ),
    (
        "{name} reads {each:n} tokens a character: it knows few of these characters as wholes, and spells "
        "the others out in bytes.",
        "{name} 每个字符要读 {each} 个 token：这些字符中它整体认识的很少，其余的都按字节拼出。",
    ),
    (
        "A model made for this text, at 1 token a character or less, has to read {each:n} times fewer "
        "tokens: it is faster by as much, and as much more of a text fits into model.max_length. Such as "
        "{models:said}.",
        "适合这种文本的模型每个字符至多 1 个 token，要读的 token 只有 1/{each}：速度相应更快，"
        "model.max_length 也能容纳相应更多的文本。例如 {models}。",
    ),
    (
        "{n:rows} ({share:share}) would become empty: {name} knows none of [its|their] characters.",
        "{n}（{share}）数据会变成空文本：{name} 不认识其中任何字符。",
    ),
    (
        "The texts are {median:n} tokens long at the median, {high:n} at the 95th percentile, {most:n} at "
        "most ({name}).",
        "文本长度的中位数为 {median} 个 token，第 95 百分位为 {high}，最长 {most}（{name}）。",
    ),
    (
        "{n:rows} ({share:share}) [is|are] longer than {length:n} tokens and will be cut: {lost:share} of "
        "all tokens are lost.",
        "{n}（{share}）数据超过 {length} 个 token，将被截断：{lost} 的 token 会丢失。",
    ),
    (
        "model.max_length={enough:n} would keep 99 % of the rows whole, if the model allows it; time grows "
        "with the length.",
        "如果模型允许，model.max_length={enough} 可完整保留 99% 的数据；耗时随长度增加。",
    ),
    (
        "Truncation to {length:n} tokens hits some classes harder: of its tokens, {names} is lost "
        "({share:share} over all).",
        "截断到 {length} 个 token 对某些类别影响更大：各类别丢失的 token 比例为 {names}（全部数据："
        "{share}）。",
    ),
    (
        "Raise model.max_length; else these classes are judged on the beginnings of their texts.",
        "请增大 model.max_length；否则这些类别只会依据文本开头来评判。",
    ),
)
