"""Word lists of the made-up phrases: lower case, letters only, no two sound alike."""

from __future__ import annotations


def as_list(text: str) -> list[str]:
    """Return the words of ``text``."""
    return text.split()


UNITS = as_list("zero one two three four five six seven eight nine")
TEENS = as_list("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
TENS = as_list("twenty thirty forty fifty sixty seventy eighty ninety")
DAYS = as_list("monday tuesday wednesday thursday friday saturday sunday")
MONTHS = as_list("january february march april may june july august september october november december")

NAMES = as_list("""
abigail adam alice amanda andrew angela anna anthony arthur barbara benjamin brian carlos caroline charlotte
christopher claire daniel david deborah diana edward eleanor elizabeth emily emma eric eva fiona florence
frances frederick gabriel george harold helen henry isabel jacob james jessica joseph joshua julia karen
kenneth laura leonard linda lucas margaret maria martin matthew michael monica nathan nicholas nicole nora
oliver olivia oscar pamela patricia peter philip rachel raymond rebecca richard robert samuel sarah simon
sophia stephen susan teresa theodore thomas timothy valerie victoria vincent virginia walter william
""")

NOUNS = as_list("""
account actor address advice agreement airport album ambulance animal answer apartment apple army arrow
article artist author autumn baby bakery balcony ball banana bank basket battery beach bean bedroom bicycle
bill bird blanket boat body book border bottle bowl box bread breakfast bridge brother brush bucket budget
builder building bus business butcher butter button cabin cabinet cable cage cake calendar camera camp canal
candle captain car card carpet cart castle cat cattle ceiling chair chapter cheese chicken child chocolate
church cinema circle city class clock cloth cloud coach coast coat coffee coin collar college colour concert
contract cook copper corner cottage cotton country cousin cow cup curtain customer daughter desert desk
diamond dictionary dinner doctor dog dollar door dragon drawer dress driver drum duck dust eagle editor egg
elbow elephant engine engineer envelope event example face factory family farmer father feather fence festival
field film finger fire fish flag floor folder forest fork fountain fox friend frog fruit funeral furniture
garage garden garlic gate gentleman ghost gift giraffe glass glove goat gold grandmother grape grass guard
guest guitar hammer hand harbour hat helicopter helmet hill honey horse hospital hotel house husband idea
insect iron island jacket jar jewel journal journey judge juice jungle kettle keyboard king kitchen kite knife
ladder lady lake lamb lamp language lawyer leather lemon lesson letter library lion lizard lobster lock
machine magazine magnet manager map market mayor meadow medal medicine melon member message metal milk
minister mirror model money monkey monster moon mother motor mountain mouse museum mushroom music nail napkin
neck needle neighbour nephew newspaper noise nurse ocean office oil onion orange orchestra oven owner package
page painter palace pan paper parcel parent park partner passenger passport path patient pencil pepper person
photograph piano picture pig pillow pilot pipe pirate planet plant plate player pocket poem poet police pond
pony potato present president priest prince prisoner problem professor project pumpkin puppet purse puzzle
queen question rabbit radio railway record report restaurant ribbon rice ring river robot rocket roof rope
ruler salad sand sandwich saucer school scientist scissors secret secretary servant shadow shark sheep shelf
shepherd ship shirt shop shoulder signal silver singer sister skirt smoke snake soap soldier song soup spider
spoon stamp statue stomach stone story stranger street student sugar suitcase summer supper surgeon sweater
table tailor teacher telephone temple tent theatre thief ticket tiger toast toilet tomato tongue tool tower
town toy tractor traffic train treasure tree triangle trumpet tunnel turkey turtle uncle uniform university
valley vegetable vehicle village violin visitor voice volcano wagon wall wallet water weapon wedding whistle
widow window wing winter wizard wolf woman worker yard yellow zebra
""")

PLURALS = as_list("""
acres animals apples babies bags bananas bottles boxes bricks candles cards carrots chairs children coins
cookies cups days dogs dollars eggs envelopes feathers flowers folders friends gallons hours houses kilometres
ladders letters meters miles minutes months mountains nights oranges pages parcels passengers pencils people
pictures plates players pounds questions seconds shelves soldiers stones students tables tickets towels trees
""")

ADJECTIVES = as_list("""
active ancient angry annual awful bitter blind brave brief bright broken brown busy calm careful central cheap
clean clever cold comfortable common complete crazy crooked cruel curious dangerous dark dead deep delicate
delicious different difficult dirty distant double dry dull eager early eastern easy elegant empty enormous
expensive extra false famous fancy fast fat favourite final flat foreign formal fresh friendly frozen full
funny gentle giant golden grateful green guilty handsome happy hard heavy helpful hidden hollow honest hot
huge humble hungry important innocent invisible jealous junior large lazy legal little local lonely long loose
loud lovely lucky mad massive medical mighty modern modest mysterious narrow nasty natural nervous noble noisy
normal northern obvious official old ordinary patient perfect pink playful pleasant polite poor popular
powerful pretty private proud public purple quick quiet rapid rare ready recent regular remote rich rough
round royal rude sacred salty scary serious shallow sharp shiny short shy sick silent silly simple skinny slow
small smart smooth soft solid special spicy square steep sticky strange strong stupid sudden sunny
sweet tall tame thick thin thirsty tiny tired ugly unhappy unusual useful valuable violent warm weird western
wet whole wide wild wise wonderful wooden wrong young
""")

VERBS = as_list("""
accepted admired answered approached attacked avoided baked blamed borrowed bought broke brought built burned
called carried caught chased checked chose cleaned climbed closed collected copied counted covered crossed
damaged defended delivered described designed destroyed discovered divided dragged drew dropped emptied
enjoyed entered examined expected explained filled finished fixed followed forgave forgot found gathered gave
greeted guarded guided handled hated helped hired hugged hunted ignored imagined improved inspected invented
invited joined jumped kept kicked kissed lifted liked lost loved married measured mentioned missed moved
needed noticed offered opened ordered organised owned packed painted photographed picked planned polished
prepared printed promised protected pulled punished pushed raised reached received recognised refused
remembered removed rented repaired replaced requested rescued respected returned saved searched selected sent
served shook shared sold solved started stole stopped studied supported surprised threatened touched trained
trusted turned understood used visited wanted washed watched weighed welcomed wrapped
""")

INTRANSITIVES = as_list("""
appeared argued arrived breathed coughed cried danced disappeared escaped failed fell floated happened
hesitated laughed left listened prayed ran recovered rested screamed shouted slept smiled sneezed stayed
survived swam talked travelled trembled vanished waited walked whispered worked yawned
""")

ADVERBS = as_list("""
again always anxiously badly barely calmly carefully certainly completely correctly eagerly eventually finally
frequently gladly gracefully happily hardly immediately loudly never nicely often openly patiently politely
privately probably properly quickly quietly rarely recently secretly seriously sometimes soon suddenly
together tomorrow tonight truly twice usually yesterday
""")

PREPOSITIONS = as_list("""
above across after against along around before behind below beneath beside between inside near outside over
past under without
""")
DETERMINERS = as_list("the a that this every another our his her their my your")
CONJUNCTIONS = as_list("and because but while until although")
EXTRAS = as_list("""
is was not very almost hundred thousand million percent of in at on from with please when who
""")
